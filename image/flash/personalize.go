package flash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
)

// Files at the root of every boot partition of ours.
const (
	// NodeFile is the identity of one node. Its clusters are reserved.
	NodeFile = "node.yaml"
	// NodeFileSize is how much is reserved, in bytes.
	NodeFileSize = 32 << 10
	// IdentityFile says what image this is, as an Identity in JSON.
	IdentityFile = "imagebuilder.json"
)

// Identity is what a boot partition says of its image.
type Identity struct {
	Board        string `json:"board"`
	ImageVersion string `json:"imageVersion"`
	Arch         string `json:"arch"`
}

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
func Identify(ctx context.Context, target string) (Identity, error) {
	b, err := openBoot(ctx, target, os.O_RDONLY)
	if err != nil {
		return Identity{}, fmt.Errorf("identify %s: %w", target, err)
	}
	defer b.Close()
	return b.identity(), nil
}

// Personalize writes nodeYAML over the node.yaml of target, which is as for
// Identify, padded with newlines to the reserved size, and makes it durable.
// On an image or a device nothing else changes. No error contains any of
// nodeYAML.
func Personalize(ctx context.Context, target string, nodeYAML []byte, opt PersonalizeOptions) (Identity, error) {
	id, err := personalize(ctx, target, nodeYAML, opt)
	if err != nil {
		return Identity{}, fmt.Errorf("personalize %s: %w", target, err)
	}
	return id, nil
}

func personalize(ctx context.Context, target string, nodeYAML []byte, opt PersonalizeOptions) (Identity, error) {
	if len(nodeYAML) > NodeFileSize {
		return Identity{}, fmt.Errorf("%s of %d bytes is larger than the %d reserved for it", NodeFile, len(nodeYAML), NodeFileSize)
	}
	b, err := openBoot(ctx, target, os.O_RDWR)
	if err != nil {
		return Identity{}, err
	}
	defer b.Close()
	id := b.identity()
	if opt.Board != "" && opt.Board != id.Board {
		return Identity{}, fmt.Errorf("the image is for board %s, the node for %s: use an image for %s", id.Board, opt.Board, opt.Board)
	}
	return id, b.writeNode(nodeYAML)
}

// boot is an opened boot partition of ours.
type boot interface {
	io.Closer
	identity() Identity
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
	id Identity
}

// findVolume looks for a FAT32 with our identity file: in the partitions, or
// the whole medium where it has no table.
func findVolume(t *target, size int64) (*volume, error) {
	rw := medium{t}
	l, err := disk.Read(rw, size)
	switch {
	case errors.Is(err, disk.ErrNoTable):
		l.Partitions = []disk.Partition{{Start: 0, Size: size, Type: disk.TypeMBRFAT32}}
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

func volumeIdentity(r io.ReaderAt) (Identity, error) {
	v, err := fat.Open(r)
	if err != nil {
		return Identity{}, err
	}
	b, err := v.ReadFile(IdentityFile, maxIdentity)
	if err != nil {
		return Identity{}, err
	}
	return parseIdentity(b)
}

const maxIdentity = 64 << 10

func parseIdentity(b []byte) (Identity, error) {
	var id Identity
	if err := json.Unmarshal(b, &id); err != nil {
		return Identity{}, fmt.Errorf("%w: %s: %w", ErrNotOurs, IdentityFile, err)
	}
	if id.Board == "" {
		return Identity{}, fmt.Errorf("%w: %s names no board", ErrNotOurs, IdentityFile)
	}
	return id, nil
}

func (v *volume) Close() error       { return v.f.Close() }
func (v *volume) identity() Identity { return v.id }

func (v *volume) writeNode(data []byte) error {
	err := fat.Overwrite(v.rw, NodeFile, data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is gone, as from a node that has joined: write the image again, or mount the boot partition and name that directory", NodeFile)
	}
	if err != nil {
		return err
	}
	return v.f.Sync()
}

// directory is a mounted boot partition.
type directory struct {
	path string
	id   Identity
}

func openDir(path string) (*directory, error) {
	b, err := readLimited(filepath.Join(path, IdentityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in this directory: %s is missing", ErrNotOurs, IdentityFile)
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
	return io.ReadAll(io.LimitReader(f, maxIdentity))
}

func (d *directory) Close() error       { return nil }
func (d *directory) identity() Identity { return d.id }

// writeNode writes into the file as it is, so that it keeps its clusters; one
// that an editor shortened or firstboot removed gets its full size again.
func (d *directory) writeNode(data []byte) error {
	padded, err := fat.Pad(data, NodeFileSize)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(d.path, NodeFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(padded, 0)
	return errors.Join(err, f.Truncate(NodeFileSize), f.Sync(), f.Close())
}
