package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
	"github.com/going-mobile/imagebuilder/image/oci"
	"github.com/going-mobile/imagebuilder/image/squashfs"
	"github.com/going-mobile/imagebuilder/image/squashfs/blockcache"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// bootLabel is the FAT's name, which a person sees on a laptop.
const bootLabel = "IMGBUILDER"

// layout is the partition table before the root's size is known: as large as
// a slot can be. Its identifiers come from the board alone: the kernel of the
// next image must find the disk that this one made.
func (p *plan) layout() (disk.Layout, error) {
	b := p.opt.Board
	id := b.Name
	var first int64 // 0 is where Arrange would have it
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

// The loader for a PC's BIOS lies in the room that alignment leaves in front of the
// boot partition: the image is no larger for it.
const (
	startBIOS = disk.Align
	sizeBIOS  = 1 << 20
)

// attributeReadOnly is GPT attribute 60 of the Discoverable Partitions
// Specification.
const attributeReadOnly = 1 << 60

// volume is a written image, still under its temporary name.
type volume struct {
	layout disk.Layout
	file   *atomicfile.File
	bmap   *disk.Map
}

// writeImage writes the partitions and their table. The caller commits or
// closes the file.
func (p *plan) writeImage(ctx context.Context, in *inputs, id string, root *slotRoot, boot *bootFiles) (v *volume, err error) {
	file, err := atomicfile.Create(p.opt.Out, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	w := disk.NewRecorder(file)
	layout, err := p.writePartitions(ctx, medium{w, file}, in, id, root, boot)
	if err != nil {
		return nil, outOfSpace(p.opt.Out, err)
	}
	if err := file.Truncate(layout.Size); err != nil {
		return nil, outOfSpace(p.opt.Out, err)
	}
	task := p.opt.Progress.Start("hash", "image", layout.Size)
	bmap, err := disk.Scan(ctx, io.NewSectionReader(file, 0, layout.Size), w.Extents(), task)
	task.Done(err)
	if err != nil {
		return nil, err
	}
	return &volume{layout, file, bmap}, nil
}

// medium is an image on its way: what was written can be read again.
type medium struct {
	io.WriterAt
	io.ReaderAt
}

func (p *plan) writePartitions(ctx context.Context, w medium, in *inputs, id string, root *slotRoot, boot *bootFiles) (disk.Layout, error) {
	draft, err := p.layout()
	if err != nil {
		return draft, err
	}
	placed, err := disk.Arrange(draft, disk.AlignCard)
	if err != nil {
		return draft, err
	}
	size, err := p.writeRoot(ctx, placed.Partitions[1].Window(w), in, root.tree)
	if err != nil {
		return draft, fmt.Errorf("root file system: %w", err)
	}
	draft.Partitions[1].Size = size
	if placed, err = disk.Arrange(draft, disk.AlignCard); err != nil {
		return draft, err
	}
	bootPart := placed.Partitions[0]
	err = fat.Write(bootPart.Writer(w), boot.tree, fat.Options{
		Size: bootPart.Size, Label: bootLabel, VolumeID: disk.VolumeID(id, "boot"),
		ModTime: in.lock.Timestamp, HiddenSectors: uint32(bootPart.Start / disk.SectorSize),
	})
	if err != nil {
		return draft, fmt.Errorf("boot partition: %w", err)
	}
	if err := disk.Write(w, placed); err != nil {
		return placed, err
	}
	return placed, boot.outside(w)
}

// outside writes what starts a machine and lies in no file system.
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

// writeRoot fills a slot. A root that outgrows it is packed to its end: only then
// can be said by how much it is too large, and what was compressed need not be
// once more when the slot is larger. Behind it comes what a node knows it by.
func (p *plan) writeRoot(ctx context.Context, slot disk.ReadWriterAt, in *inputs, root *tree.Tree) (int64, error) {
	cache, err := blockcache.Open(p.opt.Cache.Blocks(), blockCacheLimit)
	if err != nil {
		return 0, err
	}
	defer cache.Close()
	task := p.opt.Progress.Start("pack", "root", squashfs.DataSize(root))
	room := int64(p.opt.Board.Disk.Slot)
	size, err := squashfs.Write(ctx, bounded{slot, room}, root, squashfs.Options{ModTime: in.lock.Timestamp, Cache: cache, Progress: task.Add})
	if err == nil {
		err = oci.Fits("it has", size+contract.RootPage, room, in.images)
	}
	if err == nil {
		err = sumRoot(slot, size)
	}
	task.Done(err)
	return size + contract.RootPage, err
}

// sumRoot writes the digest of a root behind it. The superblock is the last that is
// written of one, so that it must be read again.
func sumRoot(slot disk.ReadWriterAt, size int64) error {
	h := sha256.New()
	if _, err := io.CopyN(h, io.NewSectionReader(slot, 0, size), size); err != nil {
		return err
	}
	sum := contract.RootSum{Size: size, SHA256: [sha256.Size]byte(h.Sum(nil))}
	_, err := slot.WriteAt(sum.Encode(), size)
	return err
}

// bounded drops what lies beyond size, in bytes.
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

// prepareOut refuses what an image must not replace and places that cannot be
// written to, and makes the image's directory.
func prepareOut(out string) error {
	info, err := os.Stat(out)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("--out %s is a directory; name a file", out)
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("--out %s is a device; build to a file, then use 'imagebuilder flash'", out)
	}
	dir := filepath.Dir(out)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--out %s: its directory cannot be made: %w", out, err)
	}
	probe, err := atomicfile.Create(out, 0o644) // also sweeps what killed builds left
	if err != nil {
		return fmt.Errorf("--out %s: its directory cannot be written to: %w", out, err)
	}
	return probe.Close()
}

// outOfSpace says what a full disk means for the build.
func outOfSpace(out string, err error) error {
	if errors.Is(err, errNoSpace) {
		return &fullError{out, err}
	}
	return err
}

// cacheOutOfSpace blames the cache for a full disk that outOfSpace has not
// been told of: a build writes nowhere else.
func cacheOutOfSpace(dir string, err error) error {
	var told *fullError
	if errors.Is(err, errNoSpace) && !errors.As(err, &told) {
		return fmt.Errorf("%w; 'imagebuilder cache prune' shrinks the cache, --cache puts it elsewhere", &fullError{dir, err})
	}
	return err
}

// fullError says whose disk is full.
type fullError struct {
	place string
	err   error
}

func (e *fullError) Error() string { return fmt.Sprintf("the disk of %s is full: %v", e.place, e.err) }
func (e *fullError) Unwrap() error { return e.err }

// blockCacheLimit in bytes holds the compressed blocks of all boards twice
// over.
const blockCacheLimit = 2 << 30
