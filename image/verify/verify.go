// Package verify tells whether an image file, raw or packed, is whole and
// is what those files say that lie beside it: manifest, block map, provenance,
// checksums. It compares everything that is there.
//
// It refuses to call an image good: a Report lists what was compared with what,
// and where nothing lies beside an image, nothing was. Whoever can change the
// image can change what lies beside it; who made it, only Signature tells.
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
	// Size in bytes of the raw image, and its sha256 as it is.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Label is nil for an image that is not of this program.
	Label *contract.Label `json:"label"`
	// Personalised: node.yaml is filled in. Everything else was compared as if
	// it were not.
	Personalised bool    `json:"personalised"`
	Checks       []Check `json:"checks"`

	// NodeFile is where in the raw image the bytes of node.yaml lie.
	NodeFile []disk.Extent `json:"-"`
	// Mapped is what the block map beside the image has, nil without one.
	Mapped []disk.Extent `json:"-"`
	// Manifest is the one beside the image, nil without one.
	Manifest *manifest.Manifest `json:"-"`
	sums     *sums
	open     func() (Raw, error)
}

// Raw is an image's raw bytes.
type Raw interface {
	io.ReaderAt
	io.Closer
}

// Open opens the image that was checked, once more. Of one that is compressed,
// reading backwards costs much.
func (r *Report) Open() (Raw, error) { return r.open() }

// Check is one comparison that came out well.
type Check struct {
	Against string `json:"against"` // a file
	What    string `json:"what"`
}

// ForeignError says that an image is not a whole one of this program.
type ForeignError struct {
	File string
	Err  error
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s is not a whole imagebuilder image: %v", e.File, e.Err)
}
func (e *ForeignError) Unwrap() error { return e.Err }

// Image checks the image in the file name. With foreign, one of another
// program is compared with what lies beside it and nothing else is asked.
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
	size     int64 // -1 where only its end will tell
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
	// Where both are wrong, what lies beside it knows better.
	if err := c.compare(is, was); err != nil {
		return err
	}
	if structure != nil && !c.foreign {
		return &ForeignError{c.name, structure}
	}
	return nil
}

// scan reads the raw image once, through what wrap makes of it.
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

// structure looks into the image. What it finds before an error stays in the
// report: a damaged image of ours is told apart from a foreign one.
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
	// A node that joined has no node.yaml any more.
	if at, err := img.NodeFile(); err == nil {
		c.report.NodeFile = at
		c.report.Personalised = !blank(raw, at)
	}
	return img.Whole()
}

// open returns the raw image for reading here and there.
func (c *checker) open(kept *ends, size int64) (Raw, error) {
	if c.format == compress.None {
		return os.Open(c.name)
	}
	return &stream{name: c.name, kept: kept, size: size}, nil
}
