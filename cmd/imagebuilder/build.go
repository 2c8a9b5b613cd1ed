package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/fetch"
	container "github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/overlays"
)

// buildFlags are the flags of build as typed.
type buildFlags struct {
	board, boards, overlayDir string
	cache, format             string
	signer                    signerFlags
	accept, components        []string
	images                    []string
	inputs                    inputFlags
	json, quiet               bool
	opt                       image.Options
}

func newBuild() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build --board BOARD",
		Short: "Build a disk image",
		Long: `Build a disk image for a board, without root:
  1. fetch and verify Debian packages;
  2. lay them and the overlays into a tree;
  3. do what the packages' maintainer scripts would have done;
  4. write the partitions.

A package is refused if its maintainer scripts are not modelled, unless
--accept-unmodelled gives a reason why they may be ignored.

These files are written beside IMAGE:
  IMAGE.manifest.json    what went into it
  IMAGE.lock.json        its exact inputs, for --lock
  IMAGE.provenance.json  its provenance (in-toto, SLSA)
  IMAGE.bmap             its block map, for bmaptool

'imagebuilder verify' compares IMAGE with all of them but the lock.`,
		Example: `  imagebuilder build --board rpi4
  imagebuilder build --board generic-arm64 --out /tmp/node.img --compress zst --sbom
  imagebuilder build --board generic-arm64 --overlay headscale --format qcow2
  imagebuilder build --board rpi4 --lock dist/rpi4.img.lock.json
  imagebuilder build --board optiplex-7050 --component k3s=./k3s --package htop
  imagebuilder build --board optiplex-7050 --sign secrets/secureboot.key --cert secrets/secureboot.pem
  imagebuilder build --board optiplex-7050 --images payload.txt --registry-mirror http://nas.lan:5000`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runBuild(cmd, &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.board, "board", "", "board to build for (see 'imagebuilder boards')")
	flags.StringVar(&f.opt.Out, "out", "", "image file (default dist/BOARD.img)")
	flags.StringVar(&f.boards, "boards", "", "directory with your own board files")
	flags.StringVar(&f.overlayDir, "overlays", "", "directory with your own overlays")
	flags.StringArrayVar(&f.opt.Overlays, "overlay", nil, "add an overlay (repeatable)")
	flags.StringArrayVar(&f.opt.Packages, "package", nil, "add a Debian package (repeatable)")
	flags.StringArrayVar(&f.accept, "accept-unmodelled", nil, "PACKAGE=REASON: ignore those of its maintainer scripts that are not modelled (repeatable)")
	flags.StringArrayVar(&f.images, "images", nil, "file that lists container images for k3s, one reference with tag or digest per line (repeatable)")
	f.inputs.add(flags, "")
	flags.StringVar(&f.opt.Compress, "compress", "", "also write a compressed image: zst, xz or gz")
	flags.StringVar(&f.format, "format", "", "also write the image in this format, for providers that import it: qcow2")
	f.signer.add(flags, "for Secure Boot with a key of your own: sign boot loader and kernel with this RSA key, in a PEM file or on a token (pkcs11:id=%01?module-path=FILE)")
	flags.BoolVar(&f.opt.SBOM, "sbom", false, "also write SPDX and CycloneDX documents")
	flags.StringVar(&f.opt.Version, "image-version", "", "set IMAGE_VERSION (default: made from the date and digest of the inputs)")
	flags.BoolVar(&f.opt.Force, "force", false, "build even if nothing has changed")
	flags.BoolVar(&f.json, "json", false, "print the result as JSON")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress")
	_ = cmd.RegisterFlagCompletionFunc("board", completeBoards)
	return cmd
}

func completeBoards(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	dir, _ := cmd.Flags().GetString("boards")
	from, err := boardSources(dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return board.Names(from...), cobra.ShellCompDirectiveNoFileComp
}

func runBuild(cmd *cobra.Command, f *buildFlags) error {
	if err := f.load(); err != nil {
		return err
	}
	result, err := f.build(cmd)
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), result)
	}
	return printSummary(cmd.OutOrStdout(), result)
}

// build builds from the loaded options.
func (f *buildFlags) build(cmd *cobra.Command) (*image.Result, error) {
	cache, err := fetch.OpenCache(f.cache)
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	u := newUI(cmd, f.quiet)
	defer u.close()
	f.opt.Cache, f.opt.Progress, f.opt.Now = cache, u, time.Now()
	result, err := image.Build(cmd.Context(), f.opt)
	if err != nil && cmd.Context().Err() != nil { // output files are complete, or not there
		return nil, cmd.Context().Err()
	}
	return result, err
}

// load turns flags into options; every mistake names its flag.
func (f *buildFlags) load() error {
	from, err := boardSources(f.boards)
	if err != nil {
		return err
	}
	if f.board == "" {
		return usagef("--board is missing; one of: %s", strings.Join(board.Names(from...), ", "))
	}
	if f.opt.Board, err = board.Load(f.board, from...); err != nil {
		return unknownIsUsage(err)
	}
	if f.opt.Out == "" {
		f.opt.Out = "dist/" + f.board + ".img"
	}
	if f.opt.OverlayFS, err = overlaySource(f.overlayDir); err != nil {
		return err
	}
	if f.opt.Accept, err = pairs("--accept-unmodelled", f.accept, "PACKAGE=REASON"); err != nil {
		return err
	}
	if f.opt.Components, err = f.inputs.overrides(f.components); err != nil {
		return err
	}
	if err := f.known(); err != nil {
		return err
	}
	if f.opt.Signer, err = f.signer.read(); err != nil {
		return err
	}
	for _, file := range f.images {
		data, err := os.ReadFile(file)
		if err != nil {
			return fileOf("--images", err)
		}
		list, err := container.List(file, data)
		if err != nil {
			return fmt.Errorf("--images: %w", err)
		}
		f.opt.Images = append(f.opt.Images, list...)
	}
	return f.inputs.apply(f)
}

// known refuses names that a flag got wrong before anything is fetched.
func (f *buildFlags) known() error {
	if f.opt.Compress != "" {
		if _, err := compress.ParseFormat(f.opt.Compress); err != nil {
			return usagef("--compress: %w", err)
		}
	}
	if f.opt.QCOW2 = f.format == "qcow2"; f.format != "" && !f.opt.QCOW2 {
		return usagef("--format: unknown format %q; there is qcow2, beside the raw image", f.format)
	}
	if err := image.CheckVersion(f.opt.Version); err != nil {
		return usagef("--image-version: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(f.opt.Components)) {
		if _, err := component.Find(name); err != nil {
			return usagef("--component: %w", err)
		}
	}
	for _, name := range f.opt.Overlays {
		if _, err := overlay.Load(f.opt.OverlayFS, name); err != nil {
			return unknownIsUsage(err)
		}
	}
	return nil
}

// unknownIsUsage makes an unknown name on the command line a usage error.
func unknownIsUsage(err error) error {
	var b *board.UnknownError
	var o *overlay.UnknownError
	if errors.As(err, &b) || errors.As(err, &o) {
		return &usageError{err}
	}
	return err
}

func overlaySource(dir string) (fs.FS, error) {
	if dir == "" {
		return overlays.FS, nil
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, usagef("--overlays: %q is not a directory", dir)
	}
	return overlay.FS(os.DirFS(dir), overlays.FS), nil
}

// pairs parses repeated KEY=VALUE flags.
func pairs(flag string, values []string, form string) (map[string]string, error) {
	out := map[string]string{}
	for _, v := range values {
		key, value, ok := strings.Cut(v, "=")
		if !ok || key == "" || value == "" {
			return nil, usagef("%s %q: write it as %s", flag, v, form)
		}
		out[key] = value
	}
	return out, nil
}

func printSummary(out io.Writer, r *image.Result) error {
	m := r.Manifest
	w := newTable(out)
	state := ""
	if r.Unchanged {
		state = " (nothing changed)"
	}
	fmt.Fprintf(w, "image\t%s%s\n", r.Image, state)
	fmt.Fprintf(w, "board\t%s (%s)\n", m.Image.Board, m.Image.Arch)
	fmt.Fprintf(w, "version\t%s\n", m.Image.Version)
	fmt.Fprintf(w, "size\t%.1f MB\n", float64(m.Image.Size)/1e6)
	fmt.Fprintf(w, "sha256\t%s\n", m.Image.SHA256)
	if s := m.Image.Signer; s != nil {
		fmt.Fprintf(w, "signed\tby %s (%.16s…)\n", s.Name, s.SHA256)
	}
	fmt.Fprintf(w, "debian\t%d packages, indexes of %s\n", len(m.Packages), m.Timestamp.UTC().Format(time.DateOnly))
	for _, c := range m.Components {
		switch {
		case c.Deferred: // printRemarks says so
		case c.BuiltFrom != "":
			fmt.Fprintf(w, "%s\t%s, in the image, built from %s\n", c.Name, c.Version, c.BuiltFrom)
		default:
			fmt.Fprintf(w, "%s\t%s, in the image\n", c.Name, c.Version)
		}
	}
	if len(m.Images) > 0 {
		var sum int64
		for _, c := range m.Images {
			sum += c.Size
		}
		fmt.Fprintf(w, "images\t%d for k3s, %.1f MB before shared layers\n", len(m.Images), float64(sum)/1e6)
	}
	for _, pkg := range slices.Sorted(maps.Keys(m.Accepted)) {
		fmt.Fprintf(w, "accepted\t%s: %s\n", pkg, m.Accepted[pkg])
	}
	for _, file := range r.Stale {
		fmt.Fprintf(w, "warning\t%s is from an earlier build\n", file)
	}
	printRemarks(w, r)
	var total float64
	var parts []string
	for _, s := range r.Stages {
		total += s.Seconds
		parts = append(parts, fmt.Sprintf("%s %.1f", s.Name, s.Seconds))
	}
	fmt.Fprintf(w, "seconds\t%.1f (%s)\n", total, strings.Join(parts, ", "))
	return w.Flush()
}

// printRemarks prints in what respects an image is less than it may seem. Every command that
// builds an image prints this, even without a summary.
func printRemarks(w io.Writer, r *image.Result) {
	for _, c := range r.Manifest.Components {
		if c.Deferred {
			fmt.Fprintf(w, "%s\t%s, DEFERRED to first boot: %s\n", c.Name, c.Version, r.Deferred[c.Name])
		}
		if c.Warning != "" {
			fmt.Fprintf(w, "WARNING\t%s: %s\n", c.Name, c.Warning)
		}
	}
	for _, warning := range slices.Concat(r.Warnings, r.Manifest.Warnings) {
		fmt.Fprintf(w, "warning\t%s\n", warning)
	}
}
