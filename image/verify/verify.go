// Package verify checks whether an image file, raw or compressed, is complete and matches
// the files beside it: manifest, block map, provenance, checksums. It compares everything
// that exists.
//
// It does not call an image good: a Report lists what was compared with what, and if no
// file lies beside an image, nothing was compared. Whoever can change the image can also
// change the files beside it; only Signature proves who made it.
package verify

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/manifest"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// Report says what an image is, and what it was compared with.
type Report struct {
	File string `json:"file"`
	// Size in bytes of the raw image, and its sha256 as it is now.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Label is nil for an image that was not made by imagebuilder.
	Label *contract.Label `json:"label"`
	// Personalised says that node.yaml is filled in. Everything else was compared as if it
	// were not.
	Personalised bool    `json:"personalised"`
	Checks       []Check `json:"checks"`

	// NodeFile is where the bytes of node.yaml are in the raw image.
	NodeFile []disk.Extent `json:"-"`
	// Mapped is what the block map beside the image lists; nil if there is no map.
	Mapped []disk.Extent `json:"-"`
	// Manifest is the manifest beside the image; nil if there is none.
	Manifest *manifest.Manifest `json:"-"`
	sums     *sums
	open     func() (Raw, error)
}

// Raw is an image's raw bytes.
type Raw interface {
	io.ReaderAt
	io.Closer
}

// Open opens the image that was checked once more. Reading a compressed one backwards is
// slow.
func (r *Report) Open() (Raw, error) { return r.open() }

// Check is one comparison that succeeded.
type Check struct {
	Against string `json:"against"` // a file
	What    string `json:"what"`
}

// ForeignError says that an image is not a complete image made by imagebuilder.
type ForeignError struct {
	File string
	Err  error
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s is not a whole imagebuilder image: %v", e.File, e.Err)
}
func (e *ForeignError) Unwrap() error { return e.Err }

// Image checks the image in the file name. With foreign, the image may be of another
// program: it is only compared with the files beside it.
func Image(ctx context.Context, name string, foreign bool, p progress.Reporter) (*Report, error) {
	r, err := compress.Open(name)
	if err != nil {
		return nil, err
	}
	format, size := r.Format, r.Size
	r.Close()
	c := &checker{name: name, format: format, size: size, foreign: foreign, progress: p, report: &Report{File: name, Checks: []Check{}}}
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	return c.report, nil
}

// checker works on one image.
type checker struct {
	name     string
	format   compress.Format
	size     int64 // -1 if it is not known before the end is reached
	foreign  bool
	progress progress.Reporter
	beside   beside
	report   *Report
}

func (c *checker) run(ctx context.Context) error {
	if err := c.beside.load(c.name, c.format); err != nil {
		return err
	}
	c.report.sums, c.report.Manifest = c.beside.sums, c.beside.manifest
	if c.beside.bmap != nil {
		c.report.Mapped = c.beside.bmap.Extents()
	}
	if c.format != compress.None {
		if err := c.comparePacked(ctx); err != nil {
			return err
		}
	}
	kept := &ends{}
	is, err := c.scan(ctx, func(r io.Reader) io.Reader {
		if c.format == compress.None {
			return r
		}
		return io.TeeReader(r, kept)
	})
	if err != nil {
		return err
	}
	if is.Size == 0 {
		return fmt.Errorf("%s is empty", c.name)
	}
	c.report.Size, c.report.SHA256 = is.Size, is.SHA256
	c.report.open = func() (Raw, error) { return c.open(kept, is.Size) }
	structure := c.structure(kept, is.Size)
	was := is
	if c.report.Personalised {
		was, err = c.scan(ctx, func(r io.Reader) io.Reader { return &blanked{r: r, at: c.report.NodeFile} })
		if err != nil {
			return err
		}
	}
	// If both comparison and structure fail, the comparison's error is the more helpful
	// one.
	if err := c.compare(is, was); err != nil {
		return err
	}
	if structure != nil && !c.foreign {
		return &ForeignError{c.name, structure}
	}
	return nil
}

// scan reads the raw image once, through the reader that wrap returns.
func (c *checker) scan(ctx context.Context, wrap func(io.Reader) io.Reader) (*disk.Map, error) {
	r, err := compress.Open(c.name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return c.read(ctx, wrap(r), c.report.Mapped)
}

func (c *checker) read(ctx context.Context, r io.Reader, mapped []disk.Extent) (m *disk.Map, err error) {
	task := c.progress.Start("check", c.name, c.size)
	defer func() { task.Done(err) }()
	if m, err = disk.Scan(ctx, r, mapped, task); err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return m, nil
}

// structure checks the image's structure. What it finds before an error stays in the
// report, so that a damaged image of imagebuilder's can be told from another program's.
func (c *checker) structure(kept *ends, size int64) error {
	raw, err := c.open(kept, size)
	if err != nil {
		return err
	}
	defer raw.Close()
	img, err := inspect.New(raw, size)
	if err != nil {
		return err
	}
	label, err := img.Identity()
	if err != nil {
		return err
	}
	c.report.Label = &label
	// A node that has joined its cluster has no node.yaml any more.
	if at, err := img.NodeFile(); err == nil {
		c.report.NodeFile = at
		c.report.Personalised = !blank(raw, at)
	}
	return img.Whole()
}

// open returns the raw image for random access.
func (c *checker) open(kept *ends, size int64) (Raw, error) {
	if c.format == compress.None {
		return os.Open(c.name)
	}
	return &stream{name: c.name, kept: kept, size: size}, nil
}
