package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
	"github.com/going-mobile/imagebuilder/image/update"
)

const updateHelp = `Put a newer image into the slot that nodes do not run, and on trial: at the next
start each of them tries it, keeps it if it proves itself, and otherwise falls back
to what it runs now.

The image is checked against all that lies beside it, its manifest above all, and
the update is signed with the owner's key. It goes over ssh, as root, to the nodes'
addresses in the tailnet, to one after the other; the first that fails ends it. A
node looks at signature, board, version, room and at what it runs before it writes
anything, so the same update can be sent again.

With --base nodes copy what that image has, too, from the slot that they run, and
fetch the rest. Those that run another one refuse.

With --write the update becomes a file instead, for a stick; on the node:
firstboot update FILE.`

// updateFlags are those of "update".
type updateFlags struct {
	fleet, image, base, file string
	signer                   signerFlags
	asJSON, reboot, quiet    bool
}

func newUpdate() *cobra.Command {
	var u updateFlags
	cmd := &cobra.Command{
		Use:   "update NODE... --image IMAGE",
		Short: "Put a newer image onto nodes that run",
		Long:  updateHelp,
		Example: `  imagebuilder update home-pi cabin-pi --image dist/rpi4.img.zst
  imagebuilder update cabin-pi --image dist/rpi4.img --reboot
  imagebuilder update cabin-pi --image new.img --base old.img     # fetches what is new
  imagebuilder update --write rpi4.update --image dist/rpi4.img   # for a stick`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case u.image == "":
				return usagef("--image is missing: which image shall the nodes get?")
			case (len(args) == 0) == (u.file == ""):
				return usagef("name one NODE or more, or --write FILE")
			case u.file != "" && u.reboot:
				return usagef("--reboot is for nodes, and --write makes a file")
			case u.reboot && len(args) > 1: // two servers that restart at once are no quorum
				return usagef("--reboot is for one node at a time: the next one when this one has proved itself ('imagebuilder status')")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return u.run(cmd, args) },
	}
	fleetFlag(cmd, &u.fleet)
	cmd.Flags().StringVar(&u.image, "image", "", "the built image, raw or compressed")
	cmd.Flags().StringVar(&u.base, "base", "", "the image that the nodes run: what it has, they copy")
	u.signer.add(cmd.Flags(), "the key (PEM) that the image was built with, where that was built with one")
	cmd.Flags().StringVar(&u.file, "write", "", "write the update to this file")
	cmd.Flags().BoolVar(&u.reboot, "reboot", false, "restart the node once it has the update")
	cmd.Flags().BoolVar(&u.asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&u.quiet, "quiet", "q", false, "no progress")
	return cmd
}

func (u *updateFlags) run(cmd *cobra.Command, names []string) error {
	f, err := loadFleet(u.fleet)
	if err != nil {
		return err
	}
	subjects, err := find(cmd, f, names)
	if err != nil {
		return err
	}
	name := u.file
	if name == "" {
		dir, err := os.MkdirTemp("", "imagebuilder-update-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		name = filepath.Join(dir, "update")
	}
	made, err := u.make(cmd, f, names, name)
	if err != nil {
		return err
	}
	if u.file != "" {
		return u.printMade(cmd.OutOrStdout(), made)
	}
	return u.push(cmd, f, subjects, name)
}

// find asks Headscale where nodes are.
func find(cmd *cobra.Command, f *fleet.Fleet, names []string) ([]inquiry.Subject, error) {
	if len(names) == 0 {
		return nil, nil
	}
	client, err := control.Client(f)
	if err != nil {
		return nil, err
	}
	rows, err := roster.Read(cmd.Context(), f, client, time.Now())
	if err != nil {
		return nil, err
	}
	return update.Subjects(f, rows, names)
}

// made is what --write prints.
type made struct {
	File    string `json:"file"`
	Board   string `json:"board"`
	Version string `json:"version"`
	Size    int64  `json:"size"` // in bytes
}

// make writes the update to a file.
func (u *updateFlags) make(cmd *cobra.Command, f *fleet.Fleet, names []string, name string) (*made, error) {
	key, err := f.Signer()
	if err != nil {
		return nil, err
	}
	signer, err := u.signer.read()
	if err != nil {
		return nil, err
	}
	progress := newUI(u.quiet)
	defer progress.close()
	img, base, err := u.open(cmd, progress)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	img.Signer = signer
	if base != nil {
		defer base.Close()
	}
	if err := img.Fit(f, names); err != nil {
		return nil, err
	}
	out, err := atomicfile.Create(name, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	m, err := update.Write(cmd.Context(), out, img, base, key, progress)
	if err != nil {
		return nil, err
	}
	size, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	return &made{u.file, m.Board, m.Version, size}, out.Commit()
}

// open opens the image and, where one was named, that which nodes run.
func (u *updateFlags) open(cmd *cobra.Command, progress *ui) (img, base *update.Image, err error) {
	if img, err = update.Open(cmd.Context(), u.image, progress); err != nil || u.base == "" {
		return img, nil, err
	}
	if base, err = update.Open(cmd.Context(), u.base, progress); err != nil {
		return nil, nil, errors.Join(err, img.Close())
	}
	return img, base, nil
}

func (u *updateFlags) printMade(out io.Writer, m *made) error {
	if u.asJSON {
		return printJSON(out, m)
	}
	_, err := fmt.Fprintf(out, "%s: %.1f MB, for board %s, version %s; on the node: firstboot update FILE\n", m.File, float64(m.Size)/1e6, m.Board, m.Version)
	return err
}

// push hands the update to one node after the other. What was done is printed,
// whatever comes after it.
func (u *updateFlags) push(cmd *cobra.Command, f *fleet.Fleet, subjects []inquiry.Subject, file string) error {
	var done []update.Answer
	var failed error
	for _, s := range subjects {
		var a update.Answer
		if a, failed = update.Push(cmd.Context(), f, s, file, u.reboot); failed != nil {
			break
		}
		done = append(done, a)
	}
	if err := u.printDone(cmd.OutOrStdout(), done); err != nil {
		return err
	}
	return failed
}

func (u *updateFlags) printDone(out io.Writer, done []update.Answer) error {
	switch {
	case len(done) == 0:
		return nil
	case u.asJSON:
		return printJSON(out, done)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tVERSION\tSLOT\tFETCHED\tNOTE")
	for _, a := range done {
		note := "restart it: it tries slot " + a.Slot + " then"
		switch {
		case !a.Installed:
			note = "ran it already"
		case u.reboot:
			note = "restarts"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f MB\t%s\n", a.Node, a.Version, a.Slot, float64(a.Fetched)/1e6, note)
	}
	return w.Flush()
}
