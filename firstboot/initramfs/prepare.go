package initramfs

import (
	"fmt"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/initramfs/ptable"
)

// system is what prepare needs from the kernel and from e2fsprogs.
type system interface {
	// follow tells the kernel about partitions that came or grew.
	follow(old, now *ptable.Table) error
	// format makes an empty file system on the data partition and returns
	// when it is on stable storage.
	format(data *ptable.Entry) error
}

// prepare brings the disk into the layout of DESIGN §5, from any state that
// an interrupted earlier attempt left. A data partition is formatted only
// while its type in the table says that no mkfs ever finished; the final type
// is written after the file system is on stable storage.
func prepare(d ptable.Disk, t *ptable.Table, slotBytes int64, newID func() string, sys system) (*ptable.Table, error) {
	want, state, err := arrange(t, slotBytes, newID)
	if err != nil {
		return nil, err
	}
	if t.Stale || !slices.Equal(t.Entries, want.Entries) {
		if err := want.Write(d); err != nil {
			return nil, err
		}
	}
	if err := sys.follow(t, want); err != nil {
		return nil, fmt.Errorf("tell the kernel about the partitions: %w", err)
	}
	if state != dataPending {
		return want, nil
	}
	if err := sys.format(want.Entry(partData)); err != nil {
		return nil, fmt.Errorf("format the data partition: %w", err)
	}
	done := want.Clone()
	done.Entry(partData).Type = finalType(done)
	if err := done.Write(d); err != nil {
		return nil, err
	}
	return done, nil
}
