package flash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
)

// PersonalizeOptions guard against giving a node the wrong image.
type PersonalizeOptions struct {
	// Board the node is meant for; "" accepts every image of ours.
	Board string
}

// ErrNotOurs is returned, wrapped, for anything without a boot partition of
// ours.
var ErrNotOurs = errors.New("no boot partition of imagebuilder")

// Identify reads what image target holds: an image file, a disk, a partition,
// or the directory at which a boot partition is mounted.
func Identify(ctx context.Context, target string) (contract.Label, error) {
	b, err := openBoot(ctx, target, os.O_RDONLY)
	if err != nil {
		return contract.Label{}, fmt.Errorf("identify %s: %w", target, err)
	}
	defer b.Close()
	return b.identity(), nil
}

// Personalize writes nodeYAML over the node.yaml of target, which is as for
// Identify, padded with newlines to the reserved size, and makes it durable.
// On an image or a device nothing else changes. No error contains any of
// nodeYAML.
func Personalize(ctx context.Context, target string, nodeYAML []byte, opt PersonalizeOptions) (contract.Label, error) {
	id, err := personalize(ctx, target, nodeYAML, opt)
	if err != nil {
		return contract.Label{}, fmt.Errorf("personalize %s: %w", target, err)
	}
	return id, nil
}

func personalize(ctx context.Context, target string, nodeYAML []byte, opt PersonalizeOptions) (contract.Label, error) {
	if len(nodeYAML) > node.ReservedSize {
		return contract.Label{}, fmt.Errorf("%s of %d bytes is larger than the %d reserved for it", node.FileName, len(nodeYAML), node.ReservedSize)
	}
	b, err := openBoot(ctx, target, os.O_RDWR)
	if err != nil {
		return contract.Label{}, err
	}
	defer b.Close()
	id := b.identity()
	if opt.Board != "" && opt.Board != id.Board {
		return contract.Label{}, fmt.Errorf("the image is for board %s, the node for %s: use an image for %s", id.Board, opt.Board, opt.Board)
	}
	return id, b.writeNode(nodeYAML)
}

// boot is an opened boot partition of ours.
type boot interface {
	io.Closer
	identity() contract.Label
	writeNode(data []byte) error
}

func openBoot(ctx context.Context, target string, flag int) (boot, error) {
	fi, err := os.Stat(target)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return openDir(target)
	}
	f, size, err := openMedium(ctx, target, fi, flag)
	if err != nil {
		return nil, err
	}
	v, err := findVolume(f, size)
	if err != nil {
		f.f.Close()
		return nil, err
	}
	v.f = f.f
	return v, nil
}

// openMedium opens an image file, or a device that nobody uses.
func openMedium(ctx context.Context, name string, fi fs.FileInfo, flag int) (*target, int64, error) {
	if fi.Mode().IsRegular() {
		f, err := os.OpenFile(name, flag, 0)
		if err != nil {
			return nil, 0, err
		}
		return &target{name: name, f: f}, fi.Size(), nil
	}
	d, err := lookup(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	if d == nil {
		return nil, 0, fmt.Errorf("neither a file, a directory nor a disk")
	}
	if flag != os.O_RDONLY {
		return openFree(d)
	}
	f, err := os.Open(d.Path)
	if err != nil {
		return nil, 0, explainOpen(err)
	}
	return &target{name: d.Path, f: f, device: true, size: d.Size}, d.Size, nil
}

// openFree opens a device for writing: a partition is as good as a disk here.
// Writing below a mounted file system would be lost or worse.
func openFree(d *Device) (*target, int64, error) {
	if len(d.Mounts) > 0 && !d.System {
		return nil, 0, fmt.Errorf("%s is mounted at %s: name the directory of its boot partition instead, or unmount it", d, d.Mounts[0])
	}
	whole := *d
	whole.Disk = ""
	if err := whole.checkUse(); err != nil {
		return nil, 0, err
	}
	f, err := openDevice(d.Path)
	if err != nil {
		return nil, 0, explainOpen(err)
	}
	return &target{name: d.Path, f: f, device: true, size: d.Size}, d.Size, nil
}

// volume is a boot partition inside an image or device.
type volume struct {
	f  *os.File
	rw fat.ReadWriterAt
	id contract.Label
}

// findVolume looks for a FAT32 with our identity file: in the partitions, or
// the whole medium where it has no table.
func findVolume(t *target, size int64) (*volume, error) {
	rw := medium{t}
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
			continue // an ESP of another system, an image cut short
		}
		if err != nil {
			return nil, err
		}
		return &volume{rw: p.Window(rw), id: id}, nil
	}
	return nil, notOurs(rw)
}

// medium reads any bytes and writes whole sectors.
type medium struct{ *target }

func (m medium) WriteAt(b []byte, off int64) (int, error) { return m.f.WriteAt(b, off) }

func notOurs(r io.ReaderAt) error {
	head := make([]byte, 6)
	if _, err := r.ReadAt(head, 0); err == nil && compress.Detect(head) != compress.None {
		return fmt.Errorf("%w: the image is compressed, decompress it or write it to a card first", ErrNotOurs)
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

func (v *volume) Close() error             { return v.f.Close() }
func (v *volume) identity() contract.Label { return v.id }

func (v *volume) writeNode(data []byte) error {
	err := fat.Overwrite(v.rw, node.FileName, data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is gone, as from a node that has joined: write the image again, or mount the boot partition and name that directory", node.FileName)
	}
	if err != nil {
		return err
	}
	return v.f.Sync()
}

// directory is a mounted boot partition.
type directory struct {
	path string
	id   contract.Label
}

func openDir(path string) (*directory, error) {
	b, err := readLimited(filepath.Join(path, contract.LabelFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in this directory: %s is missing", ErrNotOurs, contract.LabelFile)
	}
	if err != nil {
		return nil, err
	}
	id, err := parseIdentity(b)
	return &directory{path, id}, err
}

func readLimited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, contract.MaxLabel))
}

func (d *directory) Close() error             { return nil }
func (d *directory) identity() contract.Label { return d.id }

// writeNode writes into the file as it is, so that it keeps its clusters; one
// that an editor shortened or firstboot removed gets its full size again.
func (d *directory) writeNode(data []byte) error {
	padded, err := fat.Pad(data, node.ReservedSize)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(d.path, node.FileName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(padded, 0)
	return errors.Join(err, f.Truncate(node.ReservedSize), f.Sync(), f.Close())
}
