package initramfs

import (
	"errors"
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/installer"
)

// photograph ends most pages: the people on site cannot do more.
const photograph = "Take a photograph of this page and send it to whoever looks after this computer."

// goesOn ends a page about something that init waits for.
const goesOn = "This computer goes on by itself once that is mended."

// diskTrouble words the errors of finding and partitioning the disk.
func diskTrouble(label string, err error) error {
	var t *Trouble
	var f *disks.Fault
	switch {
	case errors.As(err, &t):
		return t
	case errors.As(err, &f):
		return &Trouble{What: f.What, Disk: f.Disks, Do: f.Do, Err: f.Unwrap()}
	case errors.Is(err, errTooSmall):
		return &Trouble{
			What: "The card or disk is too small for this system. Nothing was changed on it.", Disk: label,
			Do: "Use a larger card or disk and write the image to that one.", Err: err,
		}
	case errors.Is(err, ptable.ErrTooShort):
		return &Trouble{
			What: "This card or disk is smaller than the one that its content was copied from, and cannot hold all of it. Nothing was changed on it.", Disk: label,
			Do: "Use the one that it was copied from, or copy that to one that is at least as large: of two of 32 GB one may be a little smaller.", Err: err,
		}
	case errors.Is(err, errNotOurs):
		return &Trouble{
			What: "The disk was changed by another program: its partitions are not the ones of this system. Nothing was changed on it.", Disk: label,
			Do: "Do not format anything. " + photograph, Err: err,
		}
	}
	return &Trouble{
		What: "The card or disk cannot be read or written properly. It may be worn out or not sit firmly.", Disk: label,
		Do: "Switch the computer off, take the card or cable out and push it in again firmly, and switch it on. If this page comes back: " + photograph, Err: err,
	}
}

// noDisk says that the boot disk does not appear. Firmware may start from a disk that it then hides
// from the kernel.
func noDisk(o contract.Args, esp string, hidden int) *Trouble {
	t := &Trouble{
		What: "The computer cannot find the card or disk that its system is on.",
		Do:   "Check that the card, stick or disk sits firmly and that its cable is plugged in. If you just copied it to another one, use only one of the two.",
		Err:  fmt.Errorf("no disk has ID %q or an EFI system partition %q", o.DiskID, esp),
	}
	if hidden > 0 {
		what, do := disks.UnhideWords(hidden)
		t.What, t.Do = t.What+" "+what, do+" Is the system on a card or stick? "+t.Do
	}
	return t
}

// errStick says that a stick cannot be written.
var errStick = errors.New("the stick cannot be written")

// installTrouble words what went wrong while a stick installed on a disk.
func installTrouble(disk, stick string, err error) error {
	t := installFault(disk, stick, err)
	if errors.Is(err, installer.ErrKept) {
		t.What += " The disk cannot be erased again either: passwords of this computer may be on it."
		t.Do += " Give the disk to nobody, and destroy it if it is not used any more."
	}
	return t
}

func installFault(disk, stick string, err error) *Trouble {
	again := " Then switch the computer off and on: it begins again."
	switch {
	case errors.Is(err, installer.ErrStick):
		return &Trouble{
			What: "The stick cannot be read properly, so its system was not installed.", Disk: stick,
			Do: "Use another stick, or write this one anew." + again, Err: err,
		}
	case errors.Is(err, installer.ErrOther):
		return &Trouble{
			What: "The disk does not keep what is written to it. It cannot be used.", Disk: disk,
			Do: "Use another disk." + again, Err: err,
		}
	}
	return &Trouble{
		What: "The disk cannot be written and read properly, so the system was not installed.", Disk: disk,
		Do: "Check the disk's cable and power. If this comes back, use another disk." + again, Err: err,
	}
}

// stickSpent is the text of STATUS.TXT on a stick that has done its work.
func stickSpent(name, disk string) string {
	return fmt.Sprintf("This stick has installed %s on %s.\n\n", name, disk) +
		"It is of no more use: take it out. No computer starts from it any more. To use it\n" +
		"again, write the image onto it anew, with another node.yaml.\n\n" +
		"If the computer finds nothing to start: see in its BIOS whether the disk is there,\n" +
		"and put it first in the order of what is started.\n"
}

// stickStays is for a stick that a computer would start again and again.
func stickStays(name, disk, stick string, err error) *Trouble {
	if errors.Is(err, errAgain) {
		return &Trouble{
			What: fmt.Sprintf("This stick has installed %s in this computer and is of no more use, but the computer started from it again.", name), Disk: disk,
			Do: "Take the stick out. If the computer does not start then: put the disk first in the order of its BIOS.", Err: err,
		}
	}
	return &Trouble{
		What: fmt.Sprintf("This stick has installed %s in this computer, but cannot be written any more, to note that. The passwords on it may still be there.", name), Disk: stick,
		Do: "Take the stick out, and do not use it again: it is worn out or write-protected. Give it to nobody: destroy it.", Err: err,
	}
}

// eraseFirst is the remedy for a disk that the image was written to directly.
const eraseFirst = "the image was written to the other one directly. Erase that one first, in another computer."

// sameImage says that a stick does not install on a disk with its own IDs.
func sameImage(disk, stick string) *Trouble {
	return &Trouble{
		What: "The stick is to install its system, but the disk in this computer carries the same image already, and it is not clear which of the two the computer started from. Nothing was changed on either.",
		Disk: disk + " AND " + stick,
		Do:   "To start the disk as it is: take the stick out. To install: " + eraseFirst,
	}
}

// installedGone says that the disk which the stick has installed does not appear.
func installedGone(name string, hidden int) *Trouble {
	t := &Trouble{
		What: fmt.Sprintf("This stick has installed %s on a disk that is not in this computer. The stick does that once.", name),
		Do:   "If this is the right computer, check the disk's cable and power. To install once more, write the stick anew.",
	}
	if hidden > 0 {
		what, do := disks.UnhideWords(hidden)
		t.What, t.Do = t.What+" "+what, do+" Otherwise: "+t.Do
	}
	return t
}

// badSlot says that the system in the slot cannot be used.
func badSlot(slot, label string, err error) error {
	return &Trouble{
		What: fmt.Sprintf("The system on the disk (slot %s) is damaged or was not copied completely. Your data is on another part of the disk and was not touched.", slot),
		Disk: label,
		Do:   "Switch the computer off and on again once. If this page comes back: " + photograph + " The card may have to be written again.",
		Err:  err,
	}
}

// noAnswer says that the disk does not let its data be checked. A permission to repair is ignored
// in that case: e2fsck would take what cannot be read for lost.
func noAnswer(label string, err error) error {
	return &Trouble{
		What: "The card or disk with this computer's data does not answer properly. It was NOT formatted.",
		Disk: label,
		Do:   "Check its cable and power, and whether it sits firmly. Then switch the computer off and on. If this page comes back: " + photograph,
		Err:  err,
	}
}

// unmounted says that a file system without a known fault could not be mounted.
func unmounted(label string, s contract.Scheme, err error) error {
	if disks.Silent(err) {
		return noAnswer(label, fmt.Errorf("%w: %w", disks.ErrUnchecked, err))
	}
	return damagedData(label, s, err)
}

// damagedData says that e2fsck -p would not repair the data partition. With a GPT, Windows and
// macOS show no drive for the boot partition.
func damagedData(label string, s contract.Scheme, err error) error {
	allow := "put the card into a laptop, create an empty file called " + contract.RepairFile + " on the small partition that the laptop shows, put the card back"
	if s == contract.GPT {
		allow = "connect the disk that this computer starts from to a laptop, say there \"imagebuilder node repair DEVICE\" (or create an empty file called " + contract.RepairFile + " on its first partition), put it back"
	}
	return &Trouble{
		What: "The part of the disk that holds this computer's data is damaged, and repairing it by itself could lose data. It was NOT formatted.",
		Disk: label,
		Do:   "Check cable and power of the disk, and switch off and on once. If this page comes back, call whoever looks after this computer. If they say so: switch off, " + allow + " and switch on. The computer then repairs what it can.",
		Err:  err,
	}
}

// noData says that there is no file system where one should be.
func noData(label string, err error) error {
	return &Trouble{
		What: "The part of the disk that held this computer's data cannot be recognised any more. It was NOT formatted, so an expert may still save the data.",
		Disk: label,
		Do:   "Do not write to this card or disk. " + photograph + " If the data is not needed, the image can be written to the card again.",
		Err:  err,
	}
}
