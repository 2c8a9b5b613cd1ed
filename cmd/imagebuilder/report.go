package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/flash"
	"github.com/going-mobile/imagebuilder/image/hardware"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/lock"
)

// reportFlags are the flags of report as typed.
type reportFlags struct {
	image, lock, list, cache string
	json, quiet              bool
}

func newReport() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report FILE|TARGET",
		Short: "Show what the image lacks, according to a node's hardware report",
		Long: `Read the hardware report in FILE (` + contract.ReportFile + `), or the one on a card, a disk or an
image. The command says which drivers and firmware the machine asked for in vain and
IMAGE does not have.

To find the drivers, it searches all modules of the kernel that IMAGE was made from.
If the cache lacks that kernel, it is downloaded as IMAGE.lock.json says.

A report that was cut short is refused. So is one that contains anything like a
password or a key: no node writes such a report.

--list writes what the machine is made of as a list for boards/hardware. The tests
compare every later image with that list.`,
		Example: `  imagebuilder report mail/` + contract.ReportFile + `
  imagebuilder report /dev/sdb --image dist/rpi4.img
  imagebuilder report /dev/sdb --list boards/hardware/rpi4/my-pi.modalias`,
		Args: exactArgs("FILE|TARGET"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	cmd.Flags().StringVar(&f.image, "image", "", "compare with this image (default dist/BOARD.img, if it exists)")
	cmd.Flags().StringVar(&f.lock, "lock", "", "the image's lock (default IMAGE.lock.json)")
	cmd.Flags().StringVar(&f.list, "list", "", "write the list of the machine's parts to this file")
	cmd.Flags().StringVar(&f.cache, "cache", "", "cache directory (default $XDG_CACHE_HOME/imagebuilder)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "no progress")
	return cmd
}

// judged is what report prints.
type judged struct {
	Report *contract.Report `json:"report"`
	// Image is the image with which the report was compared, "" for none.
	Image    string             `json:"image,omitempty"`
	Findings []hardware.Finding `json:"findings"`
}

func (f *reportFlags) run(cmd *cobra.Command, name string) error {
	r, err := readReport(cmd.Context(), name)
	if err != nil {
		return err
	}
	if f.list != "" {
		if err := atomicfile.WriteFile(f.list, hardware.FromReport(r), 0o644); err != nil {
			return err
		}
	}
	j := judged{Report: r, Image: cmp.Or(f.image, "dist/"+contract.Find(r.Head, contract.FactBoard)+".img")}
	if _, err := os.Stat(j.Image); err != nil && f.image == "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "nothing to compare with: %s is not there; name an image with --image\n", j.Image)
		j.Image = ""
	}
	if j.Image != "" {
		if j.Findings, err = f.judge(cmd, r, j.Image); err != nil {
			return err
		}
	}
	if f.json {
		j.Findings = append([]hardware.Finding{}, j.Findings...) // a list, even if empty
		return printJSON(cmd.OutOrStdout(), j)
	}
	return printJudged(cmd.OutOrStdout(), j)
}

// readReport reads a report file, or the report on a card.
func readReport(ctx context.Context, name string) (*contract.Report, error) {
	card, err := flash.Read(ctx, name, contract.ReportFile)
	var text []byte
	switch {
	case errors.Is(err, flash.ErrNotOurs) && isFile(name):
		if text, err = readStart(name, 2*contract.ReportSize); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		text = card.Files[contract.ReportFile]
	}
	if card != nil && !bytes.HasPrefix(text, []byte("imagebuilder")) {
		return nil, fmt.Errorf("%s: there is no report on it yet: its node writes one two minutes after it was switched on", name)
	}
	r, err := contract.ParseReport(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func readStart(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

func (f *reportFlags) judge(cmd *cobra.Command, r *contract.Report, name string) ([]hardware.Finding, error) {
	img, err := inspect.Open(name)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	label, err := img.Identity()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if of := contract.Find(r.Head, contract.FactBoard); of != label.Board {
		return nil, fmt.Errorf("the report is of board %s, %s is for %s: name another image with --image", of, name, label.Board)
	}
	root, err := img.Root()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	lists, err := hardware.Lists(boards.Hardware, label.Board)
	if err != nil {
		return nil, err
	}
	kernel, err := f.kernel(cmd, cmp.Or(f.lock, name+image.LockSuffix))
	if err != nil {
		return nil, err
	}
	if was := contract.Find(r.Head, contract.FactKernel); was != kernel.Release {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: the report was made with kernel %s, but %s has kernel %s\n", was, name, kernel.Release)
	}
	return hardware.Judge(r, root, kernel.Drivers.For, kernel.Package, lists), nil
}

func (f *reportFlags) kernel(cmd *cobra.Command, lockFile string) (*image.Kernel, error) {
	l, err := lock.Load(lockFile)
	if err != nil {
		return nil, fmt.Errorf("the lock tells which kernel the image was made from: %w", err)
	}
	cache, err := fetch.OpenCache(f.cache)
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	u := newUI(cmd, f.quiet)
	defer u.close()
	b := &board.Board{Arch: l.Arch, Suite: l.Suites[0].Name} // used for mirrors only; the real board may be the owner's own
	return image.WholeKernel(cmd.Context(), image.Options{Board: b, Lock: l, Cache: cache, Progress: u, Now: time.Now()})
}

func printJudged(out io.Writer, j judged) error {
	r := j.Report
	none := 0
	for _, d := range r.Devices {
		if d.Driver == "" {
			none++
		}
	}
	w := newTable(out)
	fmt.Fprintf(w, "machine\t%s\n", contract.Find(r.Machine, contract.FactModel))
	fmt.Fprintf(w, "board\t%s, image %s, kernel %s\n", contract.Find(r.Head, contract.FactBoard), contract.Find(r.Head, contract.FactImage), contract.Find(r.Head, contract.FactKernel))
	if v := contract.Find(r.Machine, contract.FactUBoot); v != "" {
		fmt.Fprintf(w, "U-Boot\t%s\n", v)
	}
	fmt.Fprintf(w, "parts\t%d kinds, %d without a driver\n", len(r.Devices), none)
	for _, line := range []struct {
		name string
		list []string
	}{{"waiting", r.Waiting}, {"failed", r.Failed}, {"firmware", r.Firmware}} {
		if len(line.list) > 0 {
			fmt.Fprintf(w, "%s\t%s\n", line.name, strings.Join(line.list, ", "))
		}
	}
	if err := w.Flush(); err != nil || j.Image == "" {
		return err
	}
	return printFindings(out, j)
}

func printFindings(out io.Writer, j judged) error {
	var missing, left, nobodys []string
	for _, f := range j.Findings {
		switch {
		case f.Reason != "":
			left = append(left, f.Module+": "+f.Reason)
		case f.Module == "" && f.Package == "":
			nobodys = append(nobodys, f.Firmware)
		default:
			missing = append(missing, describeFinding(f, contract.Find(j.Report.Head, contract.FactBoard)))
		}
	}
	var p page
	p.section("Missing in "+j.Image, missing)
	p.section("Left out on purpose", left)
	p.section("Firmware in no package of Debian 13: drivers also ask for what they can do without; add what is needed with an overlay", nobodys)
	switch {
	case missing == nil && nobodys == nil:
		fmt.Fprintf(&p, "\n%s lacks nothing that this machine asks for\n", j.Image)
	case missing == nil:
		fmt.Fprintf(&p, "\n%s lacks nothing that Debian has for this machine\n", j.Image)
	}
	_, err := io.WriteString(out, p.String())
	return err
}

func describeFinding(f hardware.Finding, board string) string {
	if f.Module != "" {
		return fmt.Sprintf("module %s, for %s\n    it is in %s: add %[1]s to kernel.modules of boards/%[4]s.yaml", f.Module, strings.Join(f.For, ", "), f.Package, board)
	}
	return fmt.Sprintf("firmware %s\n    it is in %s: add that to packages of boards/%s.yaml, or keep the file in prune", f.Firmware, f.Package, board)
}
