package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
)

// target is a device, or a file that gets its name at the end.
type target struct {
	name   string
	f      *os.File
	m      medium           // f, as far as data goes
	file   *atomicfile.File // nil for a device
	device bool
	size   int64 // of a device, bytes
	desc   string
}

// medium is what keeps the data. Tests bring broken ones.
type medium interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	// zero makes n bytes zeros without writing them, if that can be done.
	zero(off, n int64) error
	// drop makes the next reads come from the medium, as far as that can be done.
	drop()
}

type osMedium struct{ *os.File }

func (m osMedium) zero(off, n int64) error { return zeroRange(m.File, off, n) }
func (m osMedium) drop()                   { dropCache(m.File) }

func openTarget(ctx context.Context, name string, size int64, force bool) (*target, error) {
	d, err := lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	if d == nil {
		f, err := atomicfile.Create(name, 0o600) // it may become a node's
		if err != nil {
			return nil, err
		}
		return &target{name: name, f: f.File, m: osMedium{f.File}, file: f}, nil
	}
	if err := d.Check(size, force); err != nil {
		return nil, err
	}
	f, err := openDevice(d.Path)
	if err != nil {
		return nil, explainOpen(err)
	}
	return newDevice(d, f), nil
}

func newDevice(d *Device, f *os.File) *target {
	return &target{name: d.Path, f: f, m: osMedium{f}, device: true, size: d.Size, desc: d.String()}
}

func explainOpen(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; run as root, or as a member of the group that owns the device", err)
	case isBusy(err):
		return fmt.Errorf("%w; another program uses it, close that first", err)
	}
	return err
}

// fits is for compressed images, which tell their size late.
func (t *target) fits(size int64) error {
	if t.device && size > t.size {
		return tooSmall(t.desc, size, t.size)
	}
	return nil
}

// sector is what raw devices are read and written in.
const sector = 512

func (t *target) put(b []byte, off int64) error {
	if isZero(b) {
		return t.zero(off, int64(len(b)))
	}
	if pad := len(b) % sector; t.device && pad != 0 {
		b = append(bytes.Clone(b), make([]byte, sector-pad)...)
	}
	_, err := t.m.WriteAt(b, off)
	return err
}

// zero makes n bytes read as zeros. A new file's do already.
func (t *target) zero(off, n int64) error {
	if !t.device {
		return nil
	}
	n = (n + sector - 1) / sector * sector
	if t.m.zero(off, n) == nil {
		return nil
	}
	zeros := make([]byte, min(n, blockSize))
	for n > 0 {
		b := zeros[:min(n, int64(len(zeros)))]
		if _, err := t.m.WriteAt(b, off); err != nil {
			return err
		}
		off, n = off+int64(len(b)), n-int64(len(b))
	}
	return nil
}

func isZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

// ReadAt reads any bytes, through whole sectors.
func (t *target) ReadAt(b []byte, off int64) (int, error) {
	from := off / sector * sector
	to := (off + int64(len(b)) + sector - 1) / sector * sector
	if !t.device || from == off && to == off+int64(len(b)) {
		return t.m.ReadAt(b, off)
	}
	whole := make([]byte, to-from)
	if _, err := t.m.ReadAt(whole, from); err != nil {
		return 0, err
	}
	return copy(b, whole[off-from:]), nil
}

// end gives a file its length, which may end in zeros that were not written.
func (t *target) end(size int64) error {
	if t.device {
		return nil
	}
	return t.f.Truncate(size)
}

// commit ends a successful write. A file with secrets is its owner's alone.
func (t *target) commit(secret bool) error {
	if t.file == nil {
		rereadTable(t.f)
		return t.f.Close()
	}
	if !secret {
		if err := t.f.Chmod(0o644); err != nil {
			return err
		}
	}
	return t.file.Commit()
}

// close forgets an unfinished file.
func (t *target) close() {
	if t.file != nil {
		t.file.Close()
		return
	}
	t.f.Close()
}
