// Package grub assembles GRUB for a PC's BIOS from the files of Debian's grub-pc-bin. It
// does what grub-mkimage and grub-install do on a running machine, for a disk image.
//
// A BIOS starts the first 440 bytes of a disk, GRUB's boot.img. That loads one sector,
// diskboot.img, which loads the rest: a decompressor, and GRUB's compressed kernel with its
// modules. Everything but boot.img is contiguous in a BIOS boot partition. The formats were
// taken from GRUB 2.12 (its manual's chapter "Images", and include/grub/i386/pc/boot.h,
// include/grub/offsets.h, include/grub/kernel.h).
//
// It does not know the configuration: GRUB looks for grub.cfg in a given directory. It
// refuses files whose layout it does not know, and touches no other programs or disks.
package grub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Dir is where Debian's package grub-pc-bin installs the files.
const Dir = "usr/lib/grub/i386-pc/"

// Package is the Debian package with the files.
const Package = "grub-pc-bin"

// Modules are the modules for a script that chooses a slot from boot entries and counts
// attempts, such as package boot's, or that starts another disk. serial is for machines
// without a screen.
var Modules = []string{"biosdisk", "part_gpt", "fat", "normal", "configfile", "linux", "boot", "test", "regexp", "loadenv", "echo", "sleep", "reboot", "serial", "probe", "chain"}

const (
	sector = 512
	// bootCode is the part of a disk's first sector before the partition table, in bytes.
	bootCode = 440
)

var le = binary.LittleEndian

// Loader is GRUB, ready to be installed on a disk.
type Loader struct {
	boot []byte // boot.img
	core []byte // everything else, in whole sectors
}

// Files returns a file of Dir, by its name.
type Files func(name string) ([]byte, error)

// New makes a loader with these modules and their dependencies. It runs grub.cfg in dir,
// such as "/grub", of the partition with this number (from 1) on the disk that it was
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
	bootSector     = 0x5c // 64 bits: the sector of diskboot.img
	bootDrive      = 0x64 // 0xff: the drive that the BIOS reports
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

// Size is the smallest size of the loader's partition, in bytes.
func (l *Loader) Size() int64 { return int64(len(l.core)) }

// Install writes the loader: the core into a partition of size bytes at offset at, and
// boot.img before the partition table, which must already be on the disk.
func (l *Loader) Install(w io.WriterAt, at, size int64) error {
	if l.Size() > size || at%sector != 0 {
		return fmt.Errorf("GRUB for BIOS: %d bytes do not fit into %d at %d", l.Size(), size, at)
	}
	core := bytes.Clone(l.core)
	// diskboot.img's block list, at the end of its sector, has one entry: all other
	// sectors, which are contiguous.
	le.PutUint64(core[sector-blockSize:], uint64(at/sector)+1)
	if _, err := w.WriteAt(core, at); err != nil {
		return err
	}
	boot := bytes.Clone(l.boot[:bootCode])
	le.PutUint64(boot[bootSector:], uint64(at/sector))
	// Some BIOSes report a wrong drive. As grub-install does for hard disks, remove the
	// jump that skips the workaround.
	boot[bootDriveCheck], boot[bootDriveCheck+1] = 0x90, 0x90
	_, err := w.WriteAt(boot, 0)
	return err
}
