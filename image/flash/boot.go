package flash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
)

// Card is what Read returns from a boot partition.
type Card struct {
	Label contract.Label
	// Files has the content of those files that were asked for and exist, by name.
	Files map[string][]byte
}

// maxBootFile is the longest file that Read takes, in bytes.
const maxBootFile = 4 << 20

// Read reads files of the boot partition of target: an image file, a disk, a partition, or
// the directory at which a boot partition is mounted. Files that do not exist are left out.
// Read mounts nothing, writes nothing and needs no write access, so it also reads a
// write-protected card, and one that is mounted; of a mounted one it sees only what has
// been written to the medium.
func Read(ctx context.Context, target string, names ...string) (*Card, error) {
	c, err := read(ctx, target, names)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	return c, nil
}

func read(ctx context.Context, target string, names []string) (*Card, error) {
	b, err := openBoot(ctx, target, false)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	c := &Card{Label: b.identity(), Files: map[string][]byte{}}
	for _, name := range names {
		data, err := b.readFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.Files[name] = data
	}
	return c, nil
}

// boot is an opened boot partition that imagebuilder made.
type boot interface {
	io.Closer
	identity() contract.Label
	readFile(name string) ([]byte, error)
	writeNode(data []byte) error
	touch(name string) error
}

// openBoot looks for a device first: os.Stat does not know devices on every system.
func openBoot(ctx context.Context, name string, write bool) (boot, error) {
	d, err := lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return openFile(name, write)
	}
	open := openToRead
	if write {
		open = func(d *Device) (*target, error) { return openFree(ctx, d) }
	}
	t, err := open(d)
	if err != nil {
		return nil, err
	}
	return openVolume(t, d.Size)
}

func openFile(name string, write bool) (boot, error) {
	fi, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case fi.IsDir():
		return openDir(name)
	case !fi.Mode().IsRegular():
		return nil, errors.New("neither a file, a directory nor a disk")
	}
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(name, flag, 0)
	if err != nil {
		return nil, err
	}
	return openVolume(&target{name: name, f: f, m: osMedium{f}}, fi.Size())
}

// openToRead opens any device, even one in use: reading disturbs nobody. It drops the
// system's cache, which may still hold the data of a card that was in the reader before.
func openToRead(d *Device) (*target, error) {
	if d.SectorSize > sector {
		return nil, fmt.Errorf("%s has sectors of %d bytes, images are made for %d", d, d.SectorSize, sector)
	}
	f, err := openToLook(d.Path)
	if err != nil {
		return nil, explainOpen(d.Path, err)
	}
	t := newDevice(d, f)
	t.m.drop()
	return t, nil
}

// openFree opens a device for writing; here it may also be a partition. It refuses a
// mounted one: writing below a mounted file system would lose the data, or worse.
func openFree(ctx context.Context, d *Device) (*target, error) {
	if len(d.Mounts) > 0 && !d.System {
		return nil, fmt.Errorf("%s is mounted at %s: name the directory of its boot partition instead, or unmount it: %s", d, d.Mounts[0], unmount(runtime.GOOS, *d))
	}
	whole := *d
	whole.Disk = ""
	if err := whole.checkUse(); err != nil {
		return nil, err
	}
	return openDisk(ctx, d)
}

// volume is a boot partition in an image file or on a device.
type volume struct {
	t  *target
	rw fat.ReadWriterAt
	id contract.Label
}

func openVolume(t *target, size int64) (boot, error) {
	v, err := findVolume(t, size)
	if err != nil {
		t.close()
		return nil, err
	}
	return v, nil
}

// findVolume looks for a FAT32 with imagebuilder's label file: in the partitions or,
// without a partition table, in the whole medium.
func findVolume(t *target, size int64) (*volume, error) {
	rw := readWriter{t}
	l, err := disk.Read(rw, size)
	switch {
	case errors.Is(err, disk.ErrNoTable):
		l.Partitions = []disk.Partition{{Start: 0, Size: size, Type: contract.TypeFAT32}}
	case err != nil:
		return nil, err
	}
	for _, p := range l.Partitions {
		if !p.IsFAT() {
			continue
		}
		id, err := volumeIdentity(p.Reader(rw))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fat.ErrNotFAT32) || errors.Is(err, io.ErrUnexpectedEOF) {
			continue // the ESP of another system, or a truncated image
		}
		if err != nil {
			return nil, err
		}
		return &volume{t: t, rw: p.Window(rw), id: id}, nil
	}
	return nil, notOurs(rw)
}

// readWriter reads at any offset and length; writes must be whole sectors on a device.
type readWriter struct{ *target }

func (rw readWriter) WriteAt(b []byte, off int64) (int, error) { return rw.m.WriteAt(b, off) }

func notOurs(r io.ReaderAt) error {
	head := make([]byte, 6)
	if _, err := r.ReadAt(head, 0); err == nil && compress.Detect(head) != compress.None {
		return fmt.Errorf("%w: the image is packed (%s), unpack it or write it to a card first", ErrNotOurs, compress.Detect(head))
	}
	return ErrNotOurs
}

func volumeIdentity(r io.ReaderAt) (contract.Label, error) {
	v, err := fat.Open(r)
	if err != nil {
		return contract.Label{}, err
	}
	b, err := v.ReadFile(contract.LabelFile, contract.MaxLabel)
	if err != nil {
		return contract.Label{}, err
	}
	return parseIdentity(b)
}

func parseIdentity(b []byte) (contract.Label, error) {
	id, err := contract.ParseLabel(b)
	if err != nil {
		return id, fmt.Errorf("%w: %w", ErrNotOurs, err)
	}
	return id, nil
}

func (v *volume) Close() error {
	v.t.close()
	return nil
}

func (v *volume) identity() contract.Label { return v.id }

func (v *volume) readFile(name string) ([]byte, error) {
	fsys, err := fat.Open(v.rw)
	if err != nil {
		return nil, err
	}
	return fsys.ReadFile(name, maxBootFile)
}

// directory is a mounted boot partition.
type directory struct {
	path string
	id   contract.Label
}

func openDir(path string) (*directory, error) {
	d := &directory{path: path}
	b, err := d.readFile(contract.LabelFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in this directory: %s is missing", ErrNotOurs, contract.LabelFile)
	}
	if err != nil {
		return nil, err
	}
	d.id, err = parseIdentity(b)
	return d, err
}

func (d *directory) Close() error             { return nil }
func (d *directory) identity() contract.Label { return d.id }

func (d *directory) readFile(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxBootFile))
}
