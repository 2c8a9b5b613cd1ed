package flash

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
)

// This file decodes the answers of Windows' drivers, and asks until a volume is locked. It
// is built on every system so that it is tested on every system. Offsets are those of the
// structures in winioctl.h, which are the same on all processors.

var errShort = errors.New("the driver's answer is cut short")

// winDescriptor reads a STORAGE_DEVICE_DESCRIPTOR: model, serial number, bus, and whether
// the medium is removable.
func winDescriptor(b []byte) (d Device, err error) {
	const head = 36
	if len(b) < head {
		return d, errShort
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	d.Model = strings.TrimSpace(winString(b, u32(12)) + " " + winString(b, u32(16)))
	d.Serial = winString(b, u32(24))
	d.Bus = winBuses[u32(28)]
	d.Removable = b[10] != 0 || d.Bus == "usb" || d.Bus == "sd"
	return d, nil
}

// winBuses names the useful values of STORAGE_BUS_TYPE.
var winBuses = map[uint32]string{1: "scsi", 3: "ata", 7: "usb", 8: "raid", 10: "sas", 11: "ata", 12: "sd", 13: "mmc", 14: "virtual", 15: "virtual", 17: "nvme"}

// winString returns the zero-terminated string at an offset; offset 0 means there is none.
func winString(b []byte, at uint32) string {
	if at == 0 || int64(at) >= int64(len(b)) {
		return ""
	}
	text, _, _ := strings.Cut(string(b[at:]), "\x00")
	return strings.TrimSpace(text)
}

// winGeometry reads a DISK_GEOMETRY_EX.
func winGeometry(b []byte) (size, sector int64, err error) {
	if len(b) < 32 {
		return 0, 0, errShort
	}
	return int64(binary.LittleEndian.Uint64(b[24:])), int64(binary.LittleEndian.Uint32(b[20:])), nil
}

// winExtents reads VOLUME_DISK_EXTENTS: the numbers of the disks on which a volume lies.
func winExtents(b []byte) (disks []uint32, err error) {
	if len(b) < 8 {
		return nil, errShort
	}
	for i := range int(binary.LittleEndian.Uint32(b)) {
		at := 8 + 24*i
		if at+24 > len(b) {
			return nil, errShort
		}
		disks = append(disks, binary.LittleEndian.Uint32(b[at:]))
	}
	return disks, nil
}

// The pause between two attempts to lock a volume, and how many there are: 5 s in all.
const (
	lockPause    = 100 * time.Millisecond
	lockAttempts = 50
)

// volumeInUse says that Windows did not lock a volume of a disk. It does not wrap Windows'
// answer, "access is denied", which explainOpen would take for a lack of rights.
type volumeInUse struct{ volume, disk string }

func (e *volumeInUse) Error() string {
	return fmt.Sprintf("%s on %s is in use by another program: close what shows or has opened files on it, such as a window of the Explorer, and do it again", e.volume, e.disk)
}

// winLock calls lock until it succeeds. Windows does not lock a volume while any program has
// a file open on it. On one that was just plugged in that is often so for a moment: virus
// scanner, indexer and Explorer look at it.
func winLock(ctx context.Context, volume, disk string, lock func() error) error {
	for attempt := 1; ; attempt++ {
		err := lock()
		if !errors.Is(err, fs.ErrPermission) {
			return err
		}
		if attempt == lockAttempts {
			return &volumeInUse{volume, disk}
		}
		if ctxio.Sleep(ctx, lockPause) != nil {
			return ctx.Err()
		}
	}
}
