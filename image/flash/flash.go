// Package flash writes images to cards and disks, proves by reading back that
// they arrived, and gives a written image the identity of one node.
//
// It refuses an image that is not whole, not of this program, or not what lies
// beside it says (package verify), before the first byte is written; an image
// of somebody else it takes when forced.
//
// It refuses every device that looks like a mistake: the disk the system runs
// from, one that is mounted or part of something larger, a partition, one that
// is too small for the image or for its node, one that is not what somebody agreed to (Options.Agreed); and one that is
// built in, unless forced. Only the last can be overridden; so can that a file which is no
// image of ours is not written over.
//
// With a block map beside the image only what that has is written and read
// back; holes keep what is there. A hole in which the image has anything but zeros is none: a
// wrong map costs time, not data. Without a map all of the image is written.
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
	"github.com/going-mobile/imagebuilder/image/fat"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/verify"
)

// Options of WriteImage.
type Options struct {
	// Force allows devices that are built in, not removable, and any file that is there.
	Force bool
	// Agreed is what stood at the target when somebody agreed to lose it, the zero
	// Device where that was a file: anything else is refused. nil is whatever is there.
	Agreed *Device
	// ForceForeign allows images that are not whole ones of this program.
	ForceForeign bool
	// NoVerify leaves out reading back.
	NoVerify bool
	// Node is whose identity the image gets; nil leaves node.yaml alone.
	Node *Node
	// Progress receives the tasks "check", "write" and "verify"; nil is nobody.
	Progress progress.Reporter
}

// Node is the identity of one node.
type Node struct {
	// Board that the node is; "" accepts every image of ours.
	Board string
	// Installs says that the card is a stick that installs the node on a disk.
	Installs bool
	// YAML is the content of node.yaml. No error contains any of it.
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
	// Image is what was checked before.
	Image *verify.Report
	// Written is how much of it had to be written, in bytes.
	Written int64
	// WriteTime is how long that took, until the device said that it is durable.
	WriteTime time.Duration
	// ReadBack: all of that was read again and was as written.
	ReadBack bool
	// ReadTime is how long reading took.
	ReadTime time.Duration
	// Ejected: the system has let go of the device.
	Ejected bool
}

// WriteImage checks an image file, raw or packed, and writes it to a
// device, or to a file, which appears under its name only when it is complete
// and verified.
//
// Both ends of the image, with the partition table and its copy, are written
// last, when everything else is on the medium and was read back: what an
// interrupted or failed WriteImage leaves does not look like a disk.
func WriteImage(ctx context.Context, image, target string, opt Options) (*Result, error) {
	p, err := Prepare(ctx, image, target, opt)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Write(ctx)
}

// Prepared is an image on its way to a target, with all that can be refused behind it,
// and nothing written yet. Close it.
type Prepared struct {
	src  *compress.Reader
	t    *target
	w    *writer
	name string // of the target, as it was called
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

// Fill changes the YAML of Options.Node: what it lacked can be made now, when nothing but the
// medium can refuse.
func (p *Prepared) Fill(yaml []byte) (err error) {
	p.w.yaml, err = fat.Pad(yaml, node.ReservedSize)
	return err
}

// Write writes and reads back, once.
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

// Close forgets what was not written.
func (p *Prepared) Close() {
	p.t.close()
	p.src.Close()
}

// newWriter does all that can be refused before anything is written.
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
	w.yaml, err = fat.Pad(opt.Node.YAML, node.ReservedSize)
	return w, err
}

// suits says why an image cannot be this node's.
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

// isFor refuses an image that is not of the node's board, or on which its node.yaml
// would stop it.
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
