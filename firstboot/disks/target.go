package disks

import (
	"fmt"
	"io"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Target says which disk an installer stick installs on.
type Target struct {
	Want node.Install
	// Stick is the disk that the kernel came from. It is never a target.
	Stick Disk
	// Need is the least size of the disk, in bytes.
	Need int64
	// Early means that disks on slower buses may still appear.
	Early bool
	// Hidden is how many disks the firmware hides.
	Hidden int
	// Kept are the disks that the node has for its data: none of them is a
	// target, even if it fits Want.
	Kept []node.Disk
}

// Find returns the one disk that fits, whatever is on it, or a *Fault.
func (t Target) Find(all []Disk) (Disk, error) {
	others := filter(all, func(d Disk) bool { return d.Name != t.Stick.Name })
	meant := filter(others, func(d Disk) bool { return t.Want.Disk.Fits(d.Serial, d.Models, d.Size) })
	fits := filter(meant, func(d Disk) bool { return !t.keeps(d) })
	which := "%s (" + t.Want.Disk.String() + ")"
	mayCome := t.Early || t.Hidden > 0 && t.Want.Disk.Serial == "" // the wanted disk may be one of the hidden ones
	switch {
	case len(fits) == 0 && len(meant) > 0 && !mayCome:
		return Disk{}, t.fault(Taken, "What could be "+which+" also fits dataDisk: or longhorn: disk: in node.yaml, so that it is kept for data.", "Name those disks more exactly in node.yaml, by their names below /dev/disk/by-id, and the one to install on by its serial number.", meant...)
	case len(fits) == 0 || mayCome:
		return Disk{}, t.fault(Absent, which+" is not there.", "Check the disk's cable and power. If it should be another one, correct install: in node.yaml.", others...)
	case len(fits) > 1:
		return Disk{}, t.fault(Several, "More than one disk could be "+which+".", "Unplug the others, or name the disk in node.yaml by its serial number.", fits...)
	}
	return fits[0], nil
}

func (t Target) keeps(d Disk) bool {
	return slices.ContainsFunc(t.Kept, func(k node.Disk) bool { return k.Fits(d.IDs, d.Models, d.Size) })
}

// Judge refuses a disk that cannot be installed on, or whose content must not
// be replaced. r reads the disk.
func (t Target) Judge(d Disk, r io.ReaderAt) error {
	switch {
	case d.ReadOnly:
		return t.fault(Protected, "%s is write-protected.", "Switch the protection off or use another disk.", d)
	case d.Sector != t.Stick.Sector:
		return t.fault(Sectors, fmt.Sprintf("%%s has sectors of %d bytes, and the system on the stick is made for %d.", d.Sector, t.Stick.Sector), "Use another disk; some can be switched by their maker's program.", d)
	case d.Size < t.Need:
		return t.fault(Small, "%s is too small: it holds "+gb(d.Size)+", at least "+gb(t.Need)+" is needed.", "Use a larger disk.", d)
	}
	head, tail, err := ends(r, d.Size)
	if err != nil {
		return t.fault(Unreadable, "%s cannot be read.", "Check its cable and power. It may be worn out.", d).because(err)
	}
	m, marked := parseMark(head)
	switch {
	case marked && !m.done && !hasTable(head): // an interrupted installation: nothing is lost
		return nil
	case marked && m.done || holdsData(d.Table):
		if !t.Want.ReplaceData {
			return t.fault(HasData, "%s holds the data of a node.", "If that data is not needed any more, write replaceData: true below install: in node.yaml. Otherwise take the stick out and switch the computer off and on.", d)
		}
	case !erased(head) || !erased(tail):
		if !t.Want.Wipe {
			what := "something" // it is at the disk's end
			if !erased(head) {
				what = guess(head)
			}
			return t.fault(Foreign, "%s is not empty: there is "+what+" on it.", "If nothing on it is needed, write wipe: true below install: in node.yaml. Otherwise use another disk.", d)
		}
	}
	return nil
}

// holdsData reports, by its table, whether a disk holds data of a node of this
// project: as a boot disk with a data partition, or as a node's own data or
// Longhorn disk.
func holdsData(t *ptable.Table) bool {
	if t == nil {
		return false
	}
	for _, e := range t.Entries {
		switch e.Type {
		case contract.TypeDataDisk, contract.TypeLonghornDisk, contract.TypeElsewhere:
			return true
		}
	}
	boot, a, data := t.Entry(contract.PartBoot), t.Entry(contract.PartRootA), t.Entry(contract.PartData)
	return boot != nil && a != nil && data != nil && boot.Type == t.Scheme.BootType() && t.Scheme.IsRoot(a.Type, a.Name, contract.NameRootA) &&
		(data.Type == t.Scheme.DataType() || data.Type == t.Scheme.ElsewhereType())
}

// UnfinishedSystem returns what the first sector of a disk begins with from
// when a stick starts to install on it until that is finished.
func UnfinishedSystem(node string) []byte {
	return mark{purpose: System, node: node}.encode()
}

func (t Target) fault(code Code, what, do string, about ...Disk) *Fault {
	return Want{Purpose: System, Hidden: t.Hidden}.fault(code, what, do, about...)
}
