package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/verify"
)

// target is a device, or a file that gets its name on commit.
type target struct {
	name   string
	f      *os.File
	m      medium           // the data of f
	file   *atomicfile.File // nil for a device
	device bool
	size   int64 // of a device, in bytes
	desc   string
	// removable: commit tries to eject the device.
	removable bool
	locks     []*os.File // while open, they keep the system from using the volumes
}

// medium stores the data. Tests use broken ones.
type medium interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	// zero makes n bytes zeros without transferring them, if the medium supports that.
	zero(off, n int64) error
	// drop makes the next reads come from the medium, as far as possible.
	drop()
}

type osMedium struct{ *os.File }

func (m osMedium) zero(off, n int64) error { return zeroRange(m.File, off, n) }
func (m osMedium) drop()                   { dropCache(m.File) }

// rawMedium is a device without the system's cache, which requires buffers in memory to be
// aligned.
type rawMedium struct{ osMedium }

// Sync does not use File.Sync, which works only for files on macOS.
func (m rawMedium) Sync() error { return syncDevice(m.File) }

func (m rawMedium) WriteAt(b []byte, off int64) (int, error) {
	if !isAligned(b) {
		b = append(alignedBuffer(len(b))[:0], b...)
	}
	return m.osMedium.WriteAt(b, off)
}

func (m rawMedium) ReadAt(b []byte, off int64) (int, error) {
	if isAligned(b) {
		return m.osMedium.ReadAt(b, off)
	}
	whole := alignedBuffer(len(b))
	n, err := m.osMedium.ReadAt(whole, off)
	return copy(b, whole[:n]), err
}

// alignment is a page, in bytes, which is enough for every device.
const alignment = 4096

func isAligned(b []byte) bool {
	return len(b) == 0 || uintptr(unsafe.Pointer(&b[0]))%alignment == 0
}

func alignedBuffer(n int) []byte {
	b := make([]byte, n+alignment)
	from := (alignment - int(uintptr(unsafe.Pointer(&b[0]))%alignment)) % alignment
	return b[from : from+n : from+n]
}

func openTarget(ctx context.Context, name string, size int64, opt Options) (*target, error) {
	d, err := lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	if opt.Agreed != nil {
		if err := d.isStill(*opt.Agreed); err != nil {
			return nil, err
		}
	}
	if d == nil {
		if err := checkFile(name, opt.Force); err != nil {
			return nil, err
		}
		f, err := atomicfile.Create(name, 0o600) // it may get a node's secrets
		if err != nil {
			return nil, err
		}
		return &target{name: name, f: f.File, m: osMedium{f.File}, file: f}, nil
	}
	if err := d.Check(size, opt.Force); err != nil {
		return nil, err
	}
	return openDisk(ctx, d)
}

// checkFile refuses to overwrite a file that is not an image of imagebuilder's: with a
// forgotten flag, such as --node-config, the user would lose the named file. An empty file
// has nothing to lose.
func checkFile(name string, force bool) error {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return checkNew(name)
	}
	if err != nil || force || !info.Mode().IsRegular() || info.Size() == 0 { // package atomicfile refuses the rest
		return nil
	}
	b, err := openFile(name, false)
	if err != nil {
		return fmt.Errorf("%s is there, and would be overwritten: %w; name a device, a new file or an image (a node.yaml goes with --node-config), or say --force", name, err)
	}
	return b.Close()
}

// checkNew refuses the bare name of a device: without /dev/ it would name a new file. The
// file would get the node's secrets, and the card would stay unchanged.
func checkNew(name string) error {
	if filepath.Base(name) != name {
		return nil
	}
	device := "/dev/" + name
	if info, err := os.Stat(device); err != nil || info.Mode()&fs.ModeDevice == 0 {
		return nil
	}
	return fmt.Errorf("%s would be a new file here: say %s for the device, or .%c%s for the file", name, device, filepath.Separator, name)
}

// CheckFile returns why a file with this name could not be written, for an early error;
// writing checks it again.
func CheckFile(name string, force bool) error {
	if err := checkFile(name, force); err != nil {
		return err
	}
	probe, err := atomicfile.Create(name, 0o600)
	if err != nil {
		return err
	}
	return probe.Close()
}

// openDisk opens a device for exclusive use.
func openDisk(ctx context.Context, d *Device) (*target, error) {
	f, locks, err := openRaw(ctx, d)
	if err != nil {
		return nil, explainOpen(d.Path, err)
	}
	t := newDevice(d, f)
	t.locks = locks
	return t, nil
}

func newDevice(d *Device, f *os.File) *target {
	return &target{name: d.Path, f: f, m: rawMedium{osMedium{f}}, device: true, size: d.Size, desc: d.String(), removable: d.Removable}
}

// MayWrite returns why d could not be opened for writing, and what to do about it, for an
// early error; writing checks it again.
func (d Device) MayWrite() error { return explainOpen(d.Path, mayWrite(d.Path)) }

func explainOpen(device string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; %s", err, howToBeAllowed(device))
	case isBusy(err):
		return fmt.Errorf("%w; another program uses it, close that first", err)
	}
	return err
}

// explainWrite tells a device that was pulled out from one that is broken.
func (t *target) explainWrite(ctx context.Context, err error) error {
	if !t.device || errors.Is(err, context.Canceled) {
		return err
	}
	if d, lookupErr := lookup(ctx, t.name); isGone(err) || lookupErr != nil || d == nil {
		return fmt.Errorf("%w; the device is gone: was it pulled out?", err)
	}
	return err
}

// fits checks the size of compressed images, which is not known when the device is opened.
func (t *target) fits(size int64) error {
	if t.device && size > t.size {
		return tooSmall(t.desc, size, t.size)
	}
	return nil
}

// fitsNode refuses a device that has room for the image but not for the node: at its first
// start a node makes a second slot and room for data, even if its data is on another disk.
// This does not hold for an installer stick, nor for a file, which may be enlarged later.
func (t *target) fitsNode(r *verify.Report, n *Node) error {
	if !t.device || n.Installs || r.Label == nil || r.Label.SlotMiB == 0 {
		return nil
	}
	need := 2*r.Label.SlotMiB<<20 + contract.MinData
	if r.Manifest != nil {
		for _, p := range r.Manifest.Partitions {
			if p.Number == contract.PartRootA {
				need += p.Start
			}
		}
	}
	if t.size < need {
		return fmt.Errorf("%s is too small: the image fits, but its node takes at least %s, for two systems beside each other and its data; use a larger one", t.desc, bytesText(need))
	}
	return nil
}

// sector is the unit, in bytes, in which raw devices are read and written.
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

// zero makes n bytes zeros. In a new file they already are.
func (t *target) zero(off, n int64) error {
	if !t.device {
		return nil
	}
	n = (n + sector - 1) / sector * sector
	if t.m.zero(off, n) == nil {
		return nil
	}
	zeros := alignedBuffer(int(min(n, blockSize)))
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

// ReadAt reads at any offset and length; from a device it reads whole sectors.
func (t *target) ReadAt(b []byte, off int64) (int, error) {
	from := off / sector * sector
	to := (off + int64(len(b)) + sector - 1) / sector * sector
	if !t.device || from == off && to == off+int64(len(b)) {
		return t.m.ReadAt(b, off)
	}
	whole := alignedBuffer(int(to - from))
	if _, err := t.m.ReadAt(whole, from); err != nil {
		return 0, err
	}
	return copy(b, whole[off-from:]), nil
}

// end sets the length of a file: the image may end in zeros that were not written.
func (t *target) end(size int64) error {
	if t.device {
		return nil
	}
	return t.f.Truncate(size)
}

// commit ends a successful write. A file with secrets keeps mode 0600. A card or stick is
// ejected if possible; ejected says whether it was.
func (t *target) commit(ctx context.Context, secret bool) (ejected bool, err error) {
	if t.file == nil {
		defer t.close()
		return release(ctx, t.f, t.name, t.removable)
	}
	if !secret {
		if err := t.file.Chmod(0o644); err != nil {
			return false, err
		}
	}
	return false, t.file.Commit()
}

// close closes the target and drops an unfinished file.
func (t *target) close() {
	if t.file != nil {
		t.file.Close()
		return
	}
	t.f.Close()
	for _, l := range t.locks {
		l.Close()
	}
}
