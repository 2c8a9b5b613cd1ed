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

// ErrNotOurs is returned, wrapped, for anything without a boot partition of
// ours.
var ErrNotOurs = errors.New("no boot partition of imagebuilder")

// Personalize writes a node's file over the node.yaml of target: an image file,
// a disk, a partition, or the directory at which a boot partition is mounted.
// It is padded with newlines to the reserved size, and durable. On an image or
// a device nothing else changes; an image file becomes its owner's alone before
// it has secrets.
func Personalize(ctx context.Context, target string, n Node) (contract.Label, error) {
	id, err := personalize(ctx, target, n)
	if err != nil {
		return contract.Label{}, fmt.Errorf("personalize %s: %w", target, err)
	}
	return id, nil
}

func personalize(ctx context.Context, target string, n Node) (contract.Label, error) {
	if err := checkLength(n.YAML); err != nil {
		return contract.Label{}, err
	}
	b, err := openBoot(ctx, target)
	if err != nil {
		return contract.Label{}, err
	}
	defer b.Close()
	id := b.identity()
	if n.Board != "" && n.Board != id.Board {
		return contract.Label{}, wrongBoard(id.Board, n.Board)
	}
	return id, b.writeNode(n.YAML)
}

// boot is an opened boot partition of ours.
type boot interface {
	io.Closer
	identity() contract.Label
	writeNode(data []byte) error
}

func openBoot(ctx context.Context, target string) (boot, error) {
	fi, err := os.Stat(target)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return openDir(target)
	}
	f, size, err := openMedium(ctx, target, fi)
	if err != nil {
		return nil, err
	}
	v, err := findVolume(f, size)
	if err != nil {
		f.f.Close()
		return nil, err
	}
	return v, nil
}

// openMedium opens an image file, or a device that nobody uses.
func openMedium(ctx context.Context, name string, fi fs.FileInfo) (*target, int64, error) {
	if fi.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil, 0, err
		}
		return &target{name: name, f: f, m: osMedium{f}}, fi.Size(), nil
	}
	d, err := lookup(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	if d == nil {
		return nil, 0, fmt.Errorf("neither a file, a directory nor a disk")
	}
	return openFree(d)
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
		return nil, 0, explainOpen(d.Path, err)
	}
	return newDevice(d, f), d.Size, nil
}

// volume is a boot partition inside an image or device.
type volume struct {
	t  *target
	rw fat.ReadWriterAt
	id contract.Label
}

// findVolume looks for a FAT32 with our identity file: in the partitions, or
// the whole medium where it has no table.
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
			continue // an ESP of another system, an image cut short
		}
		if err != nil {
			return nil, err
		}
		return &volume{t: t, rw: p.Window(rw), id: id}, nil
	}
	return nil, notOurs(rw)
}

// readWriter reads any bytes and writes whole sectors.
type readWriter struct{ *target }

func (rw readWriter) WriteAt(b []byte, off int64) (int, error) { return rw.m.WriteAt(b, off) }

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

func (v *volume) Close() error             { return v.t.f.Close() }
func (v *volume) identity() contract.Label { return v.id }

func (v *volume) writeNode(data []byte) error {
	if !v.t.device {
		if err := v.t.f.Chmod(0o600); err != nil {
			return fmt.Errorf("keep the node's secrets from other users: %w", err)
		}
	}
	err := fat.Overwrite(v.rw, node.FileName, data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is gone, as from a node that has joined: write the image again, or mount the boot partition and name that directory", node.FileName)
	}
	if err != nil {
		return err
	}
	return v.t.f.Sync()
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
