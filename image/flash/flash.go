// Package flash writes images to cards and disks, reads them back to prove that the data
// arrived, and gives a written image the identity of one node.
//
// It refuses an image that is truncated, was not made by imagebuilder, or does not match
// the files beside it (package verify), before the first byte is written.
// Options.ForceForeign allows an image that was not made by imagebuilder.
//
// It refuses every device that looks like a mistake: the disk that the system runs from;
// one that is mounted or part of something larger; a partition; one that is too small for
// the image or for its node; one that is not what the user agreed to (Options.Agreed); and
// one that is built in. Options.Force allows only the last of these. It also allows
// overwriting a file that is not an image of imagebuilder's, which is refused otherwise.
//
// With a block map beside the image, only the mapped blocks are written and read back; the
// rest of the device keeps its data. An unmapped block that does not consist of zeros in
// the image is written all the same, so that a wrong map costs time, not data. Without a
// map, the whole image is written.
package flash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/verify"
)

// Options are the options of WriteImage.
type Options struct {
	// Force allows devices that are built in, and replaces any file at the target.
	Force bool
	// Agreed is the device that was at the target when the user agreed to lose its data, or
	// the zero Device if that was a file: anything else is refused. nil skips this check.
	Agreed *Device
	// ForceForeign allows images that are not whole images of imagebuilder's.
	ForceForeign bool
	// NoVerify skips reading back.
	NoVerify bool
	// Node is the node whose identity the image gets; nil leaves the image's node.yaml.
	Node *Node
	// Progress receives the tasks "check", "write" and "verify"; nil reports nothing.
	Progress progress.Reporter
}

// Node is the identity of one node.
type Node struct {
	// Board is the node's board; "" accepts every image of imagebuilder's.
	Board string
	// Installs says that the medium is an installer stick, which installs the node on a
	// disk.
	Installs bool
	// YAML is the content of node.yaml. It is never part of an error.
	YAML []byte
}

func (o Options) progress() progress.Reporter {
	if o.Progress == nil {
		return progress.Discard
	}
	return o.Progress
}

// Result says what was written.
type Result struct {
	// Image is the result of the checks before writing.
	Image *verify.Report
	// Written is how many bytes of the image had to be written.
	Written int64
	// WriteTime is how long writing took, until the device reported the data durable.
	WriteTime time.Duration
	// ReadBack says that everything written was read back and was equal.
	ReadBack bool
	// ReadTime is how long reading took.
	ReadTime time.Duration
	// Ejected says that the system has ejected the device.
	Ejected bool
}

// WriteImage checks an image file, raw or compressed, and writes it to a device or a file.
// A file gets its name only when it is complete and verified.
//
// Both ends of the image, which hold the partition table and its copy, are written last,
// once everything else is on the medium and was read back: what an interrupted or failed
// WriteImage leaves behind does not look like a disk.
func WriteImage(ctx context.Context, image, target string, opt Options) (*Result, error) {
	p, err := Prepare(ctx, image, target, opt)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Write(ctx)
}

// Prepared is an image that has passed all checks for a target, with nothing written yet.
// The caller closes it.
type Prepared struct {
	src  *compress.Reader
	t    *target
	w    *writer
	name string // the target, as the caller named it
}

// Prepare is the part of WriteImage before the first byte is written.
func Prepare(ctx context.Context, image, target string, opt Options) (*Prepared, error) {
	if sameFile(image, target) {
		return nil, fmt.Errorf("%s cannot be written to itself", image)
	}
	src, err := compress.Open(image)
	if err != nil {
		return nil, err
	}
	t, err := openTarget(ctx, target, src.Size, opt)
	if err != nil {
		src.Close()
		return nil, err
	}
	p := &Prepared{src: src, t: t, name: target}
	if p.w, err = newWriter(ctx, t, image, opt); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Fill replaces the YAML of Options.Node. It is for data that is only worth creating once
// nothing but the medium can refuse any more.
func (p *Prepared) Fill(yaml []byte) (err error) {
	p.w.yaml, err = node.PadTo(yaml, node.ReservedSize)
	return err
}

// Write writes the image and reads it back. It may be called once.
func (p *Prepared) Write(ctx context.Context) (*Result, error) {
	t, w, start := p.t, p.w, time.Now()
	if err := w.run(ctx, p.src); err != nil {
		return nil, fmt.Errorf("write %s: %w%s", p.name, t.explainWrite(ctx, err), t.spoil(w.image.Size))
	}
	took := time.Since(start)
	ejected, err := t.commit(ctx, w.opt.Node != nil || w.image.Personalised)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", p.name, err)
	}
	return &Result{
		Image: w.image, Written: length(w.middle) + length(w.ends), WriteTime: took - w.readTime,
		ReadBack: !w.opt.NoVerify, ReadTime: w.readTime, Ejected: ejected,
	}, nil
}

// Close releases image and target, and drops a file that Write has not completed.
func (p *Prepared) Close() {
	p.t.close()
	p.src.Close()
}

// newWriter makes all checks that can be made before anything is written.
func newWriter(ctx context.Context, t *target, image string, opt Options) (*writer, error) {
	report, err := verify.Image(ctx, image, opt.ForceForeign, opt.progress())
	var foreign *verify.ForeignError
	if errors.As(err, &foreign) {
		return nil, fmt.Errorf("%w; take one that 'imagebuilder build' made, or write this one all the same with --force-foreign", err)
	}
	if err != nil {
		return nil, err
	}
	w := &writer{target: t, image: report, opt: opt}
	if err := t.fits(report.Size); err != nil {
		return nil, err
	}
	if opt.Node == nil {
		return w, nil
	}
	if err := t.fitsNode(report, opt.Node); err != nil {
		return nil, err
	}
	if err := opt.Node.suits(report); err != nil {
		return nil, fmt.Errorf("%s: %w", image, err)
	}
	w.yaml, err = node.PadTo(opt.Node.YAML, node.ReservedSize)
	return w, err
}

// suits returns an error if the image cannot be made this node's.
func (n *Node) suits(r *verify.Report) error {
	if r.Label == nil {
		return fmt.Errorf("%w, and nothing else in it reads %s", ErrNotOurs, node.FileName)
	}
	if err := n.isFor(*r.Label); err != nil {
		return err
	}
	if r.NodeFile == nil {
		return fmt.Errorf("%s is gone or was changed, as in a copy of a running node: take the image as it was built", node.FileName)
	}
	return checkLength(n.YAML)
}

// isFor refuses an image of another board than the node's. It also refuses an installer
// stick of an image on which the node's install: would be an error.
func (n *Node) isFor(image contract.Label) error {
	if n.Board != "" && n.Board != image.Board {
		return fmt.Errorf("the image is for board %s, the node for %s: use an image for %s", image.Board, n.Board, n.Board)
	}
	if n.Installs {
		if err := node.CheckInstall(image.Scheme()); err != nil {
			return fmt.Errorf("install: in %s %w, and take install: out", node.FileName, err)
		}
	}
	return nil
}

func checkLength(yaml []byte) error {
	if len(yaml) > node.ReservedSize {
		return fmt.Errorf("%s of %d bytes is larger than the %d reserved for it", node.FileName, len(yaml), node.ReservedSize)
	}
	return nil
}

func sameFile(a, b string) bool {
	fa, errA := os.Stat(a)
	fb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(fa, fb)
}
