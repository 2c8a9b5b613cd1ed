package inspect

import (
	"errors"
	"fmt"
	"io"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/squashfs"
)

// Whole checks that nothing of an image of ours is missing: an undamaged
// table, a boot partition and a root that end where their partitions do or
// before. It reads a few sectors: damage inside the file systems is for
// digests to find.
func (i *Image) Whole() error {
	if err := i.Layout.Whole(i.r); err != nil {
		return err
	}
	if size := i.boot.Size(); i.bootAt.Number != contract.PartBoot || size > i.bootAt.Size {
		return fmt.Errorf("its boot file system of %d bytes is not a whole first partition: that is number %d with %d", size, i.bootAt.Number, i.bootAt.Size)
	}
	_, err := i.SlotA()
	return err
}

// SlotA returns the bytes of the root file system in slot a, with what vouches for it
// where that is there, and no more.
func (i *Image) SlotA() (*io.SectionReader, error) {
	for _, p := range i.Layout.Partitions {
		if p.Number != contract.PartRootA || !i.Layout.Scheme.IsRoot(p.Type, p.Name, contract.NameRootA) {
			continue
		}
		fsys, err := squashfs.Open(p.Reader(i.r))
		if err != nil {
			return nil, fmt.Errorf("its root, partition %d: %w", p.Number, err)
		}
		if size := fsys.Size(); size > p.Size {
			return nil, fmt.Errorf("its root is cut short: %d bytes in a partition of %d", size, p.Size)
		}
		size := contract.RootSize(fsys.Size())
		if summed(p.Reader(i.r), size) {
			size += contract.RootPage
		}
		return io.NewSectionReader(i.r, p.Start, min(p.Size, size)), nil
	}
	return nil, fmt.Errorf("it has no root: partition %d is missing or of another kind", contract.PartRootA)
}

// summed says whether there is a digest behind a root: older images have none.
func summed(slot io.ReaderAt, size int64) bool {
	page := make([]byte, contract.RootPage)
	_, err := slot.ReadAt(page, size)
	if err == nil || errors.Is(err, io.EOF) {
		_, err = contract.ParseRootSum(page)
	}
	return err == nil
}

// NodeFile returns where in the image the bytes of node.yaml lie: as many as
// are reserved for it.
func (i *Image) NodeFile() ([]disk.Extent, error) {
	runs, _, err := i.boot.Locate(node.FileName)
	if err != nil {
		return nil, err
	}
	var list []disk.Extent
	var size int64
	for _, run := range runs {
		list = append(list, disk.Extent{Offset: i.bootAt.Start + run.Offset, Length: run.Length})
		size += run.Length
	}
	if size != node.ReservedSize {
		return nil, fmt.Errorf("%s has %d bytes instead of the %d reserved for it", node.FileName, size, node.ReservedSize)
	}
	return list, nil
}
