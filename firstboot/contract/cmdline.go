package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Our kernel arguments. The scripts of U-Boot and GRUB add those that only they can know,
// what they loaded from and whether it is a trial, and so spell them once more.
const (
	argSlot       = "imagebuilder.slot"
	argDisk       = "imagebuilder.disk"
	argSlotSize   = "imagebuilder.slotsize" // MiB
	argVerity     = "imagebuilder.verity"
	ArgBootDevice = "imagebuilder.bootdev"
	ArgTrial      = "imagebuilder.trial"
	// ArgBootPart is the PARTUUID of the boot partition if GRUB starts the kernel;
	// systemd-boot passes it in a firmware variable.
	ArgBootPart = "imagebuilder.bootpart"
	// ArgWatchdog is systemd's own, in seconds: systemd takes over the watchdog that init
	// arms.
	ArgWatchdog = "systemd.watchdog_sec"
)

// Args are the kernel arguments that tell a node what to start. They come from a boot
// file; nobody types them.
type Args struct {
	// Slot is a or b.
	Slot string
	// DiskID is the GUID of the disk or, on MBR, its signature, in lower case.
	DiskID string
	// SlotSize is the size in bytes to which the first boot makes root-a and root-b.
	SlotSize int64
	// Watchdog is in whole seconds; 0 arms none.
	Watchdog time.Duration
	// Verity is what the root must be, nil if nobody vouches for these arguments.
	Verity *Verity

	// BootDevice is what U-Boot loaded the kernel from: mmc, usb or nvme.
	BootDevice string
	// BootPart is the PARTUUID of the partition that GRUB loaded the kernel from.
	BootPart string
	// Trial means that this boot must prove itself.
	Trial bool
	// Module has arguments NAME.PARAMETER=VALUE. The kernel reads them for compiled-in
	// code only; for modules, whoever loads them must.
	Module []string
}

// Verity identifies a root for dm-verity, whose hash tree is behind the page of the
// RootSum.
type Verity struct {
	// Blocks is the number of 4 KiB blocks in the root. It decides how many levels the
	// tree has.
	Blocks int64
	// Root is the SHA-256 of the tree's topmost block.
	Root [sha256.Size]byte
}

// Encode returns the arguments that a boot file carries.
func (a Args) Encode() string {
	line := fmt.Sprintf("%s=%s %s=%s %s=%d %s=%d", argSlot, a.Slot, argDisk, a.DiskID,
		argSlotSize, a.SlotSize>>20, ArgWatchdog, int64(a.Watchdog/time.Second))
	if v := a.Verity; v != nil {
		line += fmt.Sprintf(" %s=%d:%x", argVerity, v.Blocks, v.Root)
	}
	return line
}

func parseVerity(text string) (*Verity, error) {
	blocks, digest, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(blocks, 10, 64)
	root, err2 := hex.DecodeString(digest)
	if err != nil || err2 != nil || n <= 0 || len(root) != sha256.Size {
		return nil, errors.New("it must be the number of blocks and the SHA-256 of their tree")
	}
	return &Verity{n, [sha256.Size]byte(root)}, nil
}

// ForSlot turns a text with the arguments of one slot into that of another slot.
func ForSlot(text, from, to string) string {
	return strings.ReplaceAll(text, argSlot+"="+from+" ", argSlot+"="+to+" ")
}

// ParseArgs reads a kernel command line, as /proc/cmdline shows it. It ignores the
// arguments of others. A wrong value of ours is an error; the valid values are returned
// with it, as even a caller that then stops must know of a trial.
func ParseArgs(line string) (a Args, wrong error) {
	for _, arg := range strings.Fields(line) {
		key, value, _ := strings.Cut(arg, "=")
		if err := a.set(key, value); err != nil && wrong == nil {
			wrong = fmt.Errorf("kernel argument %q: %w", arg, err)
		}
		if strings.Contains(key, ".") {
			a.Module = append(a.Module, arg)
		}
	}
	if wrong == nil && (a.Slot == "" || a.SlotSize == 0) {
		wrong = errors.New("the kernel command line does not name the slot and its size: " + argSlot + " or " + argSlotSize + " is missing")
	}
	return a, wrong
}

func (a *Args) set(key, value string) (err error) {
	switch key {
	case argVerity:
		a.Verity, err = parseVerity(value)
		return err
	case argSlot:
		a.Slot = value
		return CheckSlot(value)
	case argDisk:
		a.DiskID = strings.ToLower(value)
	case ArgBootDevice:
		a.BootDevice = value
	case ArgBootPart:
		a.BootPart = value
	case ArgTrial:
		a.Trial = value == "1"
	case argSlotSize:
		mib, err := strconv.ParseUint(value, 10, 24)
		if err != nil || mib == 0 {
			return errors.New("the size must be in MiB")
		}
		a.SlotSize = int64(mib) << 20
	case ArgWatchdog:
		seconds, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return errors.New("the time must be in seconds")
		}
		a.Watchdog = time.Duration(seconds) * time.Second
	}
	return nil
}

// ModuleOptions returns the parameters of a module, whose name is given with underscores.
func (a Args) ModuleOptions(name string) string {
	var found []string
	for _, arg := range a.Module {
		owner, option, _ := strings.Cut(arg, ".")
		if strings.ReplaceAll(owner, "-", "_") == name {
			found = append(found, option)
		}
	}
	return strings.Join(found, " ")
}

// Slots are the names of the two slots.
var Slots = []string{"a", "b"}

// CheckSlot refuses anything but the name of a slot.
func CheckSlot(name string) error {
	if name != Slots[0] && name != Slots[1] {
		return fmt.Errorf("slot %q is neither a nor b", name)
	}
	return nil
}
