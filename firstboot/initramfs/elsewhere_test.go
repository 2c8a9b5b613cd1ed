package initramfs

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/disks/cutdisk"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

func TestANodeLeavesItsBootDiskOnlyBeforeItIsBorn(t *testing.T) {
	with, without := &node.Config{DataDisk: node.Disk{Size: ">=1TB"}}, &node.Config{}
	if !leavesCard(false, with) || leavesCard(false, without) || leavesCard(true, with) || leavesCard(true, without) {
		t.Error("a data disk is for a node that was named one, and is nobody yet")
	}
}

// bootedElsewhere does what init does with the boot disk of a node whose data
// disk has the given ID, and returns what it remembered before.
func bootedElsewhere(d *cutdisk.Disk, id string) (before dataState, err error) {
	t, err := ptable.Read(d, d.Size, 512)
	if err != nil {
		return 0, err
	}
	if t, err = makeRoom(d, t, slotSize, testIDs()); err != nil {
		return 0, err
	}
	before = stateOf(t, t.Entry(contract.PartData))
	if before == dataElsewhere {
		have, err := recordedDisk(d, t)
		if have != id {
			return before, fmt.Errorf("it remembers %q: %w", have, err)
		}
		return before, nil
	}
	return before, recordDisk(d, t, id)
}

// A power cut at any moment leaves a boot disk that either remembers the data disk or does not yet,
// and that is never taken for a disk with a data partition of its own.
func TestPowerCutsWhileTheDataDiskIsRemembered(t *testing.T) {
	const id = "aaaaaaaa-0000-4000-8000-000000000001"
	for _, scheme := range []contract.Scheme{contract.GPT, contract.MBR} {
		for _, start := range []dataState{dataPending, dataReady} {
			base := flashed(t, scheme)
			if start == dataReady { // started once without node.yaml
				if _, err := bootDisk(base); err != nil {
					t.Fatal(err)
				}
				base = base.Clone(diskSize)
			}
			whole := base.Clone(diskSize)
			if before, err := bootedElsewhere(whole, id); err != nil || before != start {
				t.Fatal(before, err)
			}
			everyCut(t, base, whole.Log, func(d *cutdisk.Disk) error {
				before, err := bootedElsewhere(d, id)
				if err != nil || before != dataElsewhere && before != start {
					return fmt.Errorf("state %d, %w", before, err)
				}
				if formatted, err := bootDisk(d.Clone(diskSize)); formatted || err != nil {
					return fmt.Errorf("formatted %v, %w", formatted, err)
				}
				return nil
			})
		}
	}
}

// What the boot disk remembers is read back correctly or not at all: a node without its data must
// not start afresh.
func TestASpoiltMemoryIsNoDisk(t *testing.T) {
	d := flashed(t, contract.MBR)
	if _, err := bootedElsewhere(d, "some-disk"); err != nil {
		t.Fatal(err)
	}
	table, err := ptable.Read(d, d.Size, 512)
	if err != nil {
		t.Fatal(err)
	}
	first := int64(table.Entry(contract.PartData).First)
	d.Sectors[first] = make([]byte, 512)
	if id, err := recordedDisk(d, table); !errors.Is(err, errRecord) {
		t.Errorf("%q, %v", id, err)
	}
	for sector := range d.Sectors {
		lost := d.Clone(diskSize)
		delete(lost.Sectors, sector)
		if formatted, _ := bootDisk(lost); formatted {
			t.Errorf("formatted after sector %d was lost", sector)
		}
	}
}

// An ordinary start of a node with a data disk waits a second for a copy of that disk, and not
// longer for a bus on which nothing is coming. A disk of which only a pattern is known is chosen
// when the slowest disk has had its time.
func TestHowLongADataDiskIsWaitedFor(t *testing.T) {
	known, pattern, named := disks.Want{Known: "x", Spec: node.Disk{Size: ">=1TB"}}, disks.Want{Spec: node.Disk{Size: ">=1TB"}}, disks.Want{Spec: node.Disk{Path: "/dev/disk/by-id/x"}}
	for _, test := range []struct {
		name  string
		want  disks.Want
		since time.Duration
		usb   bool
		early bool
	}{
		{"known, at once", known, 0, false, true},
		{"known", known, time.Second, false, false},
		{"known, and USB still comes", known, 10 * time.Second, true, true},
		{"known, and USB comes for ever", known, slowBus, true, false},
		{"a pattern after the slow buses", pattern, slowBus, false, true},
		{"a pattern when all have spun up", pattern, time.Minute, true, false},
		{"a name", named, slowBus, true, false},
	} {
		if got := mayCome(test.want, test.since, test.usb); got != test.early {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// A copy on a smaller card is not reported as worn out, and a disk that does not answer is reported
// neither as damaged nor as one to repair.
func TestPagesSayWhatIsWrongWithTheDisk(t *testing.T) {
	for _, test := range []struct {
		err  error
		want []string
	}{
		{diskTrouble("DISK", fmt.Errorf("partition 4: %w", ptable.ErrTooShort)), []string{"smaller than the one that its content was copied from", "Nothing was changed", "DISK", "at least as large"}},
		{unmounted("DISK", contract.GPT, &os.PathError{Op: "mount", Err: syscall.EIO}), []string{"does not answer properly", "cable and power", "DISK"}},
		{unmounted("DISK", contract.MBR, syscall.EINVAL), []string{"is damaged", contract.RepairFile, "the small partition that the laptop shows", "cable and power"}},
		{unmounted("DISK", contract.GPT, syscall.EINVAL), []string{"is damaged", "imagebuilder node repair DEVICE", contract.RepairFile}},
	} {
		page := asTrouble(test.err).page("imagebuilder rpi4 1", goesOn)
		if n := strings.Count(page, "\n"); n > 25 {
			t.Errorf("%d lines:\n%s", n, page)
		}
		page = strings.Join(strings.Fields(page), " ")
		for _, want := range test.want {
			if !strings.Contains(page, want) {
				t.Errorf("%v: no %q in %s", test.err, want, page)
			}
		}
	}
	if err := unmounted("DISK", contract.GPT, syscall.EIO); !errors.Is(err, disks.ErrUnchecked) {
		t.Errorf("it is not waited for: %v", err)
	}
}

// The page of a fault of disks fits a screen, the longest one too.
func TestAPageOfDisksFitsTheScreen(t *testing.T) {
	f := &disks.Fault{
		What:  "The disk for this computer's data (/dev/disk/by-id/ata-Samsung_SSD_870_EVO_500GB_S6PYNX0R123456A), which this node has used so far, is not there. Nothing was changed on any disk.",
		Do:    "Plug in that very disk, and check its cable and power. If it is lost for good, write the image anew: the node then begins as a new one.",
		Disks: strings.Repeat("sda, 500.1 GB, Samsung SSD 870 EVO 500GB, ata-Samsung_SSD_870_EVO_500GB_S6PYNX0R123456A; ", 3) + "and 2 more",
	}
	page := asTrouble(diskTrouble("", f)).page("imagebuilder rpi4 1", "This computer goes on by itself once that is mended.")
	if n := strings.Count(page, "\n"); n > 25 {
		t.Errorf("%d lines:\n%s", n, page)
	}
	for _, want := range []string{"which this node has used", "S6PYNX0R123456A", "and 2 more", "Plug in that very disk"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing:\n%s", want, page)
		}
	}
}
