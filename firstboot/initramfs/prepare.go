package initramfs

import (
	"fmt"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

// makeRoom brings the partition table into its final layout, from any state that an interrupted
// attempt left: boot and root-a where the image has them, both slots with their final size, root-b
// after root-a, and data up to the disk's end. It formats nothing.
func makeRoom(d ptable.Disk, t *ptable.Table, slotBytes int64, newID func() string) (*ptable.Table, error) {
	want, err := arrange(t, slotBytes, newID)
	if err != nil {
		return nil, err
	}
	if t.Stale || !slices.Equal(t.Entries, want.Entries) {
		if err := want.Write(d); err != nil {
			return nil, err
		}
	}
	return want, nil
}

// makeData formats the data partition if its type in the table says that no mkfs has ever finished.
// format must return only when the empty file system is on stable storage; then makeData writes the
// final type. From then on nothing formats the partition again.
func makeData(d ptable.Disk, t *ptable.Table, state dataState, format func() error) error {
	if state != dataPending {
		return nil
	}
	if err := format(); err != nil {
		return fmt.Errorf("format the data partition: %w", err)
	}
	done := t.Clone()
	done.Entry(contract.PartData).Type = done.Scheme.DataType()
	return done.Write(d)
}
