// Package grub puts GRUB for a PC's BIOS together from the files of Debian's
// grub-pc-bin: what grub-mkimage and grub-install make on a running machine, for
// a disk that is a file.
//
// A BIOS starts the first 440 bytes of a disk, GRUB's boot.img. That loads one
// sector, diskboot.img, and that the rest: a decompressor, and compressed GRUB's
// kernel with its modules. All of it lies in a row, in a BIOS boot partition.
// The formats were read off GRUB 2.12 (its manual's chapter "Images", and
// include/grub/i386/pc/boot.h, include/grub/offsets.h, include/grub/kernel.h).
//
// It knows no configuration: GRUB looks for grub.cfg in the directory it is told.
// It refuses files of a shape that it does not know, and no other programs or
// disks are touched.
package grub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Dir is where Debian's package grub-pc-bin has the files.
const Dir = "usr/lib/grub/i386-pc/"

// Package of Debian that has them.
const Package = "grub-pc-bin"

// Modules are what a script needs that chooses a slot by entries and counts tries,
// as package boot's, or starts another disk. Serial is for whoever has no screen.
var Modules = []string{"biosdisk", "part_gpt", "fat", "normal", "configfile", "linux", "boot", "test", "regexp", "loadenv", "echo", "sleep", "reboot", "serial", "probe", "chain"}

const (
	sector = 512
	// bootCode is what of a disk's first sector is no partition table.
	bootCode = 440
)

var le = binary.LittleEndian

// Loader is GRUB, ready to be put on a disk.
type Loader struct {
	boot []byte // boot.img
	core []byte // all the rest, in whole sectors
}

// Files returns a file of Dir, by its name.
type Files func(name string) ([]byte, error)

// New makes a loader of these modules and all that they need, which runs grub.cfg
// in dir, such as "/grub", of the partition (from 1) of the disk that it was
// started from.
func New(files Files, modules []string, partition int, dir string) (*Loader, error) {
	l, err := newLoader(files, modules, fmt.Sprintf("(,gpt%d)%s", partition, dir))
	if err != nil {
		return nil, fmt.Errorf("GRUB for BIOS: %w", err)
	}
	return l, nil
}

func newLoader(files Files, modules []string, prefix string) (*Loader, error) {
	boot, err := files("boot.img")
	if err != nil {
		return nil, err
	}
	if err := checkBoot(boot); err != nil {
		return nil, fmt.Errorf("boot.img: %w", err)
	}
	payload, err := kernelAndModules(files, modules, prefix)
	if err != nil {
		return nil, err
	}
	core, err := newCore(files, payload)
	return &Loader{boot, core}, err
}

// Fields of boot.img (include/grub/i386/pc/boot.h).
const (
	bootSector     = 0x5c // 64 bits: where diskboot.img lies
	bootDrive      = 0x64 // 0xff: the one that the BIOS says
	bootDriveCheck = 0x66
)

func checkBoot(b []byte) error {
	switch {
	case len(b) != sector:
		return fmt.Errorf("has %d bytes, not %d", len(b), sector)
	case le.Uint64(b[bootSector:]) != 1 || b[bootDrive] != 0xff || b[bootDriveCheck] != 0xeb:
		return errors.New("its fields are not where GRUB 2.12 has them; this version is not known")
	}
	return nil
}

// Size is how many bytes the loader's partition must have at least.
func (l *Loader) Size() int64 { return int64(len(l.core)) }

// Install writes the loader: into a partition of size bytes at an offset, and in
// front of the partition table that must be on the disk already.
func (l *Loader) Install(w io.WriterAt, at, size int64) error {
	if l.Size() > size || at%sector != 0 {
		return fmt.Errorf("GRUB for BIOS: %d bytes do not fit into %d at %d", l.Size(), size, at)
	}
	core := bytes.Clone(l.core)
	// diskboot.img's list of blocks, which ends with the sector: all the others,
	// in a row.
	le.PutUint64(core[sector-blockSize:], uint64(at/sector)+1)
	if _, err := w.WriteAt(core, at); err != nil {
		return err
	}
	boot := bytes.Clone(l.boot[:bootCode])
	le.PutUint64(boot[bootSector:], uint64(at/sector))
	// Some BIOSes tell the wrong drive; as grub-install does on hard disks, this
	// takes the jump over the remedy away.
	boot[bootDriveCheck], boot[bootDriveCheck+1] = 0x90, 0x90
	_, err := w.WriteAt(boot, 0)
	return err
}
