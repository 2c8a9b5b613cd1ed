// Package cutdisk is a disk in memory, for tests of what survives a power cut.
// It logs each sector that was written since it was switched on, and each sync,
// and derives every disk that a power cut could have left.
package cutdisk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// Disk has sectors of 512 bytes; those that were never written are zero.
type Disk struct {
	Size    int64
	Sectors map[int64][]byte
	Log     []Write
	// Fault, if set, is called before each read, write and sync; an error makes
	// that fail.
	Fault func() error
}

// Write is the write of one sector, or a sync if Data is nil.
type Write struct {
	Sector int64
	Data   []byte
}

// New returns an empty disk.
func New(size int64) *Disk { return &Disk{Size: size, Sectors: map[int64][]byte{}} }

func (d *Disk) fault() error {
	if d.Fault == nil {
		return nil
	}
	return d.Fault()
}

// ReadAt reads zeros beyond the end.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if err := d.fault(); err != nil {
		return 0, err
	}
	clear(p)
	end := off + int64(len(p))
	put := func(s int64, data []byte) {
		if from, to := max(off, s*512), min(end, s*512+512); from < to && data != nil {
			copy(p[from-off:to-off], data[from-s*512:])
		}
	}
	if len(p)/512 > len(d.Sectors) {
		for s, data := range d.Sectors {
			put(s, data)
		}
		return len(p), nil
	}
	for s := off / 512; s*512 < end; s++ {
		put(s, d.Sectors[s])
	}
	return len(p), nil
}

// WriteAt refuses anything but whole sectors inside the disk.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.fault(); err != nil {
		return 0, err
	}
	if off%512 != 0 || len(p)%512 != 0 || off+int64(len(p)) > d.Size {
		return 0, fmt.Errorf("write of %d bytes at %d", len(p), off)
	}
	for i := 0; i < len(p); i += 512 {
		w := Write{off/512 + int64(i)/512, bytes.Clone(p[i : i+512])}
		d.Sectors[w.Sector] = w.Data
		d.Log = append(d.Log, w)
	}
	return len(p), nil
}

// Sync makes durable everything written before.
func (d *Disk) Sync() error {
	if err := d.fault(); err != nil {
		return err
	}
	d.Log = append(d.Log, Write{})
	return nil
}

// Clone returns a disk of this size with the same content and an empty log, as
// after switching it on again.
func (d *Disk) Clone(size int64) *Disk {
	c := New(size)
	for s, data := range d.Sectors {
		c.Sectors[s] = data
	}
	return c
}

// Cut returns what the disk base is after a power cut behind the first n
// entries of log. Everything before the last sync is there; for each later
// write, keep decides.
func Cut(base *Disk, log []Write, n int, keep func() bool) *Disk {
	d := base.Clone(base.Size)
	durable := 0
	for i, w := range log[:n] {
		if w.Data == nil {
			durable = i
		}
	}
	for i, w := range log[:n] {
		if w.Data != nil && (i < durable || keep()) {
			d.Sectors[w.Sector] = w.Data
		}
	}
	return d
}

// EveryCut calls story with the disk after a power cut behind every entry of
// log: with everything since the last sync written, with nothing of it, and
// with random parts of it. It returns story's first error.
func EveryCut(base *Disk, log []Write, story func(d *Disk) error) error {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range len(log) + 1 {
		keeps := []func() bool{func() bool { return true }, func() bool { return false }}
		for range 4 {
			keeps = append(keeps, func() bool { return random.IntN(2) == 0 })
		}
		for k, keep := range keeps {
			if err := story(Cut(base, log, n, keep)); err != nil {
				return fmt.Errorf("power cut after write %d of %d, variant %d: %w", n, len(log), k, err)
			}
		}
	}
	return nil
}
