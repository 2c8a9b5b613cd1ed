package flash

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWindowsDrivers' answers, byte by byte as winioctl.h lays them out.
func TestWindowsDrivers(t *testing.T) {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 40)                      // Version
	b = le.AppendUint32(b, 72)                         // Size
	b = append(b, 0, 0, 1, 0)                          // DeviceType, modifier, RemovableMedia, CommandQueueing
	for _, at := range []uint32{40, 50, 0, 68, 7, 0} { // vendor, product, revision, serial, BusTypeUsb, raw
		b = le.AppendUint32(b, at)
	}
	b = append(b, "\x00\x00\x00\x00Generic  \x00MassStorage Class\x00 A1\x00"...)
	d, err := winDescriptor(b)
	if err != nil || d.Model != "Generic MassStorage Class" || d.Serial != "A1" || d.Bus != "usb" || !d.Removable {
		t.Errorf("%+v, %v", d, err)
	}
	b[10], b[28] = 0, 17
	if d, err := winDescriptor(b); err != nil || d.Bus != "nvme" || d.Removable {
		t.Errorf("%+v, %v", d, err)
	}
	g := make([]byte, 20)
	g = le.AppendUint64(le.AppendUint32(g, 512), 31_914_983_424)
	if size, sector, err := winGeometry(g); err != nil || size != 31_914_983_424 || sector != 512 {
		t.Error(size, sector, err)
	}
	e := le.AppendUint64(nil, 2) // NumberOfDiskExtents, and four bytes of nothing
	for _, disk := range []uint64{1, 3} {
		e = le.AppendUint64(le.AppendUint64(le.AppendUint64(e, disk), 1<<20), 1<<30)
	}
	if disks, err := winExtents(e); err != nil || !slices.Equal(disks, []uint32{1, 3}) {
		t.Error(disks, err)
	}
	if _, err := winExtents(e[:40]); !errors.Is(err, errShort) {
		t.Error(err)
	}
}

// TestAVolumeIsLocked once nobody has a file open on it. A program that keeps one open is to
// be closed: that is no matter of rights.
func TestAVolumeIsLocked(t *testing.T) {
	denied := &fs.PathError{Op: "ask", Path: `\\?\Volume{1}`, Err: fs.ErrPermission}
	gone := errors.New("the device is not connected")
	for name, c := range map[string]struct {
		used  int   // attempts at which a file is open
		then  error // of the next one
		want  string
		after time.Duration
	}{
		"at once":             {},
		"used for a moment":   {used: 2, after: 2 * lockPause},
		"used all the time":   {used: 1000, want: `E:\ on DISK is in use by another program: close `, after: 49 * lockPause},
		"pulled out meantime": {used: 1, then: gone, want: gone.Error(), after: lockPause},
	} {
		synctest.Test(t, func(t *testing.T) {
			start, attempts := time.Now(), 0
			err := explainOpen("DISK", winLock(t.Context(), `E:\`, "DISK", func() error {
				if attempts++; attempts <= c.used {
					return denied
				}
				return c.then
			}))
			if (err == nil) != (c.want == "") || err != nil && (!strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), howToBeAllowed("DISK"))) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			if took := time.Since(start); took != c.after {
				t.Errorf("%s: after %s, want %s", name, took, c.after)
			}
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := winLock(ctx, `E:\`, "DISK", func() error { return denied }); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func FuzzWindowsDrivers(f *testing.F) {
	f.Add(make([]byte, 72))
	f.Fuzz(func(t *testing.T, b []byte) {
		winDescriptor(b)
		winGeometry(b)
		winExtents(b)
	})
}
