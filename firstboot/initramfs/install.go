package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// mayBeStick tells a disk that an image was written to from one that was installed. The ID of an
// installed disk is not its image's; it has the same node.yaml as the stick, but must not follow
// it. A stick has never been updated: its other slot is empty.
func mayBeStick(t *ptable.Table, args contract.Args) bool {
	return t.ID == args.DiskID && args.Slot == "a"
}

func isRemovable(d disks.Disk) bool { return (d.OnBus("usb") || d.OnBus("mmc")) && !d.Soldered }

// twins returns the cards and sticks with the disk ID of boot, a built-in disk, from which the
// kernel may have come just as well: where neither boot loader nor firmware says which disk it was,
// the built-in one was chosen only for what is on it. It returns nil where the medium is known, or
// boot is removable.
func twins(all []disks.Disk, boot disks.Disk, medium efiboot.Medium) []disks.Disk {
	if medium != efiboot.Unknown || isRemovable(boot) {
		return nil
	}
	return filter(all, func(d disks.Disk) bool { return isRemovable(d) && d.Table != nil && d.Table.ID == boot.Table.ID })
}

// needs returns the least size in bytes of a disk that the system with this table can be installed
// on: what arrange puts there, plus alignment.
func needs(t *ptable.Table, slotBytes int64) int64 {
	a := t.Entry(contract.PartRootA)
	slot := alignUp(t, max(uint64(slotBytes/t.SectorSize), a.Sectors))
	b := alignUp(t, a.First+slot)
	return int64(b+slot)*t.SectorSize + contract.MinData + 2*alignment
}

// orderTrouble refuses to install from a disk that is not a stick: if a built-in disk got such a
// node.yaml by mistake, another disk would be overwritten.
func orderTrouble(stick disks.Disk, s contract.Scheme) error {
	if err := node.CheckInstall(s); err != nil {
		return &Trouble{
			What: "node.yaml says that this card or stick installs its system on a disk, which a Raspberry Pi does not need. Nothing was changed on any disk.", Disk: stick.Label,
			Do: "Write the image onto the disk itself, with another computer, and take install: out of node.yaml.", Err: fmt.Errorf("install: %w", err),
		}
	}
	if !isRemovable(stick) {
		return &Trouble{
			What: "node.yaml says that a stick installs its system on a disk, but this computer was started from a disk that is built in. Nothing was changed on any disk.", Disk: stick.Label,
			Do: "Take install: out of node.yaml to use this very disk, or start the computer from the stick.",
		}
	}
	return nil
}

// file is an open node.yaml.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Seeker
	Sync() error
}

// note overwrites a stick's node.yaml in two parts. The first one says everything: whoever finds it
// knows that the rest is to be overwritten.
func note(f file, done node.Installed) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	head, rest := done.Text(int(size))
	for _, part := range []struct {
		text []byte
		at   int64
	}{{head, 0}, {rest, int64(len(head))}} {
		have := make([]byte, len(part.text))
		if _, err := f.ReadAt(have, part.at); (err == nil || errors.Is(err, io.EOF)) && bytes.Equal(have, part.text) {
			continue
		}
		if _, err := f.WriteAt(part.text, part.at); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}
