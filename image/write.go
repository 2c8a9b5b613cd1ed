package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
	"github.com/going-mobile/imagebuilder/image/oci"
	"github.com/going-mobile/imagebuilder/image/squashfs"
	"github.com/going-mobile/imagebuilder/image/squashfs/blockcache"
	"github.com/going-mobile/imagebuilder/image/tree"
	"github.com/going-mobile/imagebuilder/image/verity"
)

// bootLabel is the volume label of the FAT, which people see when they plug the card into a
// laptop.
const bootLabel = "IMGBUILDER"

// layout is the partition table before the root's size is known: the root partition is as
// large as the slot. The identifiers depend on the board's name alone, because the kernel
// of the next image must find the disk that this image was written to.
func (p *plan) layout() (disk.Layout, error) {
	b := p.opt.Board
	id := b.Name
	var first int64 // 0 leaves it to disk.Arrange
	if len(b.Disk.Raw) > 0 {
		first = board.RawRoom
	}
	if b.Firmware == board.RaspberryPi {
		return disk.Layout{Scheme: contract.MBR, ID: disk.Signature(id), Partitions: []disk.Partition{
			{Start: first, Size: int64(b.Disk.Boot), Type: contract.TypeFAT32, Active: true},
			{Size: int64(b.Disk.Slot), Type: contract.TypeLinux},
		}}, nil
	}
	rootType, err := contract.GPT.RootType(b.Arch)
	if err != nil {
		return disk.Layout{}, err
	}
	l := disk.Layout{Scheme: contract.GPT, ID: disk.GUID(id, "disk"), Partitions: []disk.Partition{
		{Start: first, Size: int64(b.Disk.Boot), Type: contract.TypeESP, Name: "esp", UUID: disk.GUID(id, "esp")},
		{Size: int64(b.Disk.Slot), Type: rootType, Name: contract.NameRootA, UUID: disk.GUID(id, contract.NameRootA), Attributes: attributeReadOnly},
	}}
	if b.BIOS {
		l.Partitions = append(l.Partitions, disk.Partition{Number: contract.PartBIOS, Start: startBIOS, Size: sizeBIOS,
			Type: contract.TypeBIOS, Name: contract.NameBIOS, UUID: disk.GUID(id, contract.NameBIOS)})
	}
	return l, nil
}

// The BIOS boot partition lies in the gap that alignment leaves before the boot partition,
// so it does not make the image larger.
const (
	startBIOS = disk.Align
	sizeBIOS  = 1 << 20
)

// attributeReadOnly is GPT attribute bit 60, read-only, of the Discoverable Partitions
// Specification.
const attributeReadOnly = 1 << 60

// volume is an image that is being written, still under its temporary name. The root is
// written first because the signed boot files contain its root hash.
type volume struct {
	layout disk.Layout
	file   *atomicfile.File
	medium *disk.Recorder
	verity *contract.Verity // nil without a signer
	bmap   *disk.Map
}

// writeRoot creates the image file and writes the root. The caller closes or commits
// volume.file.
func (p *plan) writeRoot(ctx context.Context, in *inputs, root *slotRoot) (v *volume, err error) {
	v = &volume{}
	if v.layout, err = p.layout(); err != nil {
		return nil, err
	}
	placed, err := disk.Arrange(v.layout, disk.AlignCard)
	if err != nil {
		return nil, err
	}
	if v.file, err = atomicfile.Create(p.opt.Out, 0o644); err != nil {
		return nil, err
	}
	v.medium = disk.NewRecorder(v.file)
	slot := placed.Partitions[1].Window(medium{v.medium, v.file})
	if v.layout.Partitions[1].Size, v.verity, err = p.fillSlot(ctx, slot, in, root.tree); err != nil {
		v.file.Close()
		return nil, outOfSpace(p.opt.Out, fmt.Errorf("root file system: %w", err))
	}
	return v, nil
}

// medium writes through the recorder, which notes the extents, and reads from the file.
type medium struct {
	io.WriterAt
	io.ReaderAt
}

// writeBoot completes the image with the boot files and the partition table.
func (p *plan) writeBoot(ctx context.Context, v *volume, in *inputs, id string, boot *bootFiles) (err error) {
	if v.layout, err = disk.Arrange(v.layout, disk.AlignCard); err != nil {
		return err
	}
	if err := v.fillBoot(boot, id, in.lock.Timestamp); err != nil {
		return outOfSpace(p.opt.Out, err)
	}
	if err := v.file.Truncate(v.layout.Size); err != nil {
		return outOfSpace(p.opt.Out, err)
	}
	task := p.opt.Progress.Start("hash", "image", v.layout.Size)
	v.bmap, err = disk.Scan(ctx, io.NewSectionReader(v.file, 0, v.layout.Size), v.medium.Extents(), task)
	task.Done(err)
	return err
}

func (v *volume) fillBoot(boot *bootFiles, id string, made time.Time) error {
	part := v.layout.Partitions[0]
	err := fat.Write(part.Writer(v.medium), boot.tree, fat.Options{
		Size: part.Size, Label: bootLabel, VolumeID: disk.VolumeID(id, "boot"),
		ModTime: made, HiddenSectors: uint32(part.Start / disk.SectorSize),
	})
	if err != nil {
		return fmt.Errorf("boot partition: %w", err)
	}
	if err := disk.Write(v.medium, v.layout); err != nil {
		return err
	}
	return boot.outside(v.medium)
}

// outside writes the boot files that are in no file system.
func (b *bootFiles) outside(w io.WriterAt) error {
	for _, f := range b.raw {
		if err := f.write(w); err != nil {
			return err
		}
	}
	if b.bios == nil {
		return nil
	}
	return b.bios.Install(w, startBIOS, sizeBIOS)
}

// fillSlot writes a root and the RootSum behind it, by which the node recognizes the root.
// It returns the length of both, in bytes. A root that is larger than the slot is still
// packed to its end: only then can the error say by how much it is too large, and the block
// cache saves the work of compressing again when the slot is enlarged.
func (p *plan) fillSlot(ctx context.Context, slot disk.ReadWriterAt, in *inputs, root *tree.Tree) (int64, *contract.Verity, error) {
	cache, err := blockcache.Open(p.opt.Cache.Blocks(), blockCacheLimit)
	if err != nil {
		return 0, nil, err
	}
	defer cache.Close()
	task := p.opt.Progress.Start("pack", "root", squashfs.DataSize(root))
	room := int64(p.opt.Board.Disk.Slot)
	size, err := squashfs.Write(ctx, bounded{slot, room}, root, squashfs.Options{ModTime: in.lock.Timestamp, Cache: cache, Progress: task.Add})
	whole := contract.RootSum{Size: size, Tree: p.treeSize(size)}.Whole()
	if err == nil {
		err = oci.Fits("it has", whole, room, in.images)
	}
	var v *contract.Verity
	if err == nil {
		v, err = p.vouch(slot, size)
	}
	task.Done(err)
	return whole, v, err
}

// Compile-time check that both are the kernel's page size: the hash tree behind the RootSum
// page then begins at a block boundary.
const _ = uint(verity.BlockSize-contract.RootPage) + uint(contract.RootPage-verity.BlockSize)

// treeSize is the length of the dm-verity hash tree for a root of size bytes. It is 0
// without a signer: the tree proves something only if its root hash is in signed kernel
// arguments.
func (p *plan) treeSize(size int64) int64 {
	if p.opt.Signer == nil {
		return 0
	}
	return verity.Size(size)
}

// vouch writes the RootSum behind a root and, with a signer, the root's dm-verity hash tree
// behind that. It reads the whole root again: squashfs writes its superblock last, so the
// digest cannot be computed while writing.
func (p *plan) vouch(slot disk.ReadWriterAt, size int64) (*contract.Verity, error) {
	h := sha256.New()
	data := io.TeeReader(io.NewSectionReader(slot, 0, size), h)
	sum := contract.RootSum{Size: size, Tree: p.treeSize(size)}
	var behind []byte
	var v *contract.Verity
	if p.opt.Signer != nil {
		t, err := verity.Hash(data, size)
		if err != nil {
			return nil, err
		}
		h.Write(t.Levels)
		behind, v = t.Levels, &contract.Verity{Blocks: size / verity.BlockSize, Root: t.Root}
	} else if _, err := io.CopyN(io.Discard, data, size); err != nil {
		return nil, err
	}
	sum.SHA256 = [sha256.Size]byte(h.Sum(nil))
	_, err := slot.WriteAt(append(sum.Encode(), behind...), size)
	return v, err
}

// bounded discards writes that end beyond size, in bytes.
type bounded struct {
	io.WriterAt
	size int64
}

func (b bounded) WriteAt(data []byte, off int64) (int, error) {
	if off+int64(len(data)) > b.size {
		return len(data), nil
	}
	return b.WriterAt.WriteAt(data, off)
}

// prepareOut makes the image's directory. It refuses an out that is a directory or a
// device, and a directory that cannot be written to.
func prepareOut(out string) error {
	info, err := os.Stat(out)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("the image %s is a directory: it has to be a file", out)
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("the image %s is a device; build to a file, then use 'imagebuilder flash'", out)
	}
	dir := filepath.Dir(out)
	if err := atomicfile.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("the image %s: its directory cannot be made: %w", out, err)
	}
	probe, err := atomicfile.Create(out, 0o644) // also removes what killed builds left behind
	if err != nil {
		return fmt.Errorf("the image %s: its directory cannot be written to: %w", out, err)
	}
	return probe.Close()
}

// outOfSpace wraps a disk-full error with the place whose disk is full.
func outOfSpace(out string, err error) error {
	if errors.Is(err, errNoSpace) {
		return &fullError{out, err}
	}
	return err
}

// cacheOutOfSpace blames the cache for a disk-full error that does not tell its place: a build
// writes nowhere else, except for the go command, whose error tells that.
func cacheOutOfSpace(dir string, err error) error {
	if errors.Is(err, errNoSpace) && !errors.As(err, new(*fullError)) && !errors.As(err, new(*component.FullError)) {
		return fmt.Errorf("%w; 'imagebuilder cache prune' shrinks the cache, --cache puts it elsewhere", &fullError{dir, err})
	}
	return err
}

// fullError says which path's disk is full.
type fullError struct {
	place string
	err   error
}

func (e *fullError) Error() string { return fmt.Sprintf("the disk of %s is full: %v", e.place, e.err) }
func (e *fullError) Unwrap() error { return e.err }

// blockCacheLimit, in bytes, is twice what the compressed blocks of all boards need.
const blockCacheLimit = 2 << 30
