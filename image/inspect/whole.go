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

// Whole checks that no part of an imagebuilder image is missing: the partition table is
// undamaged, and boot file system and root fit into their partitions. It reads only a few
// sectors: damage inside the file systems can only be found by digests.
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

// SlotA returns the root file system in slot a, followed by its RootSum and hash tree if it
// has them, and nothing else.
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
		size := vouched(p.Reader(i.r), contract.RootSize(fsys.Size()))
		return io.NewSectionReader(i.r, p.Start, min(p.Size, size)), nil
	}
	return nil, fmt.Errorf("it has no root: partition %d is missing or of another kind", contract.PartRootA)
}

// vouched returns the length of a root with its RootSum and hash tree; older images have
// neither.
func vouched(slot io.ReaderAt, size int64) int64 {
	page := make([]byte, contract.RootPage)
	if _, err := slot.ReadAt(page, size); err != nil && !errors.Is(err, io.EOF) {
		return size
	}
	sum, err := contract.ParseRootSum(page)
	if err != nil || sum.Size != size {
		return size
	}
	return sum.Whole()
}

// NodeFile returns where node.yaml is in the image: all the bytes that are reserved for it.
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
