package disks

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/disks/cutdisk"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

const diskSize = 64 * mib

// fsSectors is what the stand-in of mkfs writes: the superblock first, which
// is the worst order, and the rest with a Sync only at the very end.
const fsSectors = 12

func fakeFormat(d *cutdisk.Disk, t *ptable.Table) error {
	for i := range int64(fsSectors) {
		text := fmt.Sprintf("file system, part %d", i)
		if _, err := d.WriteAt(append([]byte(text), make([]byte, 512-len(text))...), (int64(t.Entry(ownPart).First)+i)*512); err != nil {
			return err
		}
	}
	return d.Sync()
}

// use does with a disk in memory what Use does with a real one, and reports
// whether it formatted.
func use(d *cutdisk.Disk) (formatted bool, err error) {
	table, err := ptable.Read(d, d.Size, 512)
	if err != nil {
		table = nil
	}
	c, err := inspect(d, d.Size, 512, table, Data)
	if err != nil {
		return false, err
	}
	w := Want{Purpose: Data, Node: "cabin-pi"}
	if err := w.judge(Disk{Size: smallest}, c); err != nil {
		return false, err
	}
	if c.state == made {
		_, err := settle(d, table)
		return false, err
	}
	n := 0
	newID := func() string { n++; return fmt.Sprintf("aaaaaaaa-bbbb-4ccc-8ddd-%012d", n) }
	err = makeOwn(d, d.Size, 512, mark{purpose: Data, node: "cabin-pi"}, newID, func(t *ptable.Table) error {
		formatted = true
		return fakeFormat(d, t)
	})
	return formatted, err
}

// finished checks the end of every story.
func finished(d *cutdisk.Disk) error {
	t, err := ptable.Read(d, d.Size, 512)
	if err != nil {
		return err
	}
	c, err := inspect(d, d.Size, 512, t, Data)
	switch e := t.Entry(ownPart); {
	case err != nil:
		return err
	case c.state != made || c.node != "cabin-pi" || c.id != t.ID:
		return fmt.Errorf("the disk is %+v", c)
	case t.Stale:
		return errors.New("the table is not in its final form")
	case t.LastUsable()+1-e.End() > 2*alignment/512:
		return fmt.Errorf("the partition ends at %d", e.End())
	}
	for i := range int64(fsSectors) {
		b := make([]byte, 512)
		if _, err := d.ReadAt(b, (int64(t.Entry(ownPart).First)+i)*512); err != nil || !bytes.HasPrefix(b, []byte("file system, part")) {
			return errors.New("the file system is not whole")
		}
	}
	return nil
}

// A power cut at any moment of making a disk a node's own, and a second one at
// some moment of the next try, leave a disk that the try after it finishes.
func TestPowerCutsWhileADiskIsMade(t *testing.T) {
	base := cutdisk.New(diskSize)
	whole := base.Clone(diskSize)
	if formatted, err := use(whole); err != nil || !formatted {
		t.Fatal(formatted, err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	err := cutdisk.EveryCut(base, whole.Log, func(d *cutdisk.Disk) error {
		again := d.Clone(diskSize)
		if _, err := use(again); err != nil {
			return err
		}
		if err := finished(again); err != nil || len(again.Log) == 0 {
			return err
		}
		for range 3 {
			twice := cutdisk.Cut(d, again.Log, random.IntN(len(again.Log)), func() bool { return random.IntN(2) == 0 })
			if _, err := use(twice); err != nil {
				return fmt.Errorf("after a second cut: %w", err)
			}
			if err := finished(twice); err != nil {
				return fmt.Errorf("after a second cut: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Until a disk is done its first sector shows nobody a table, whatever moment the power
// goes at: what is begun again can have nobody's files on it.
func TestNobodySeesAPartitionBeforeADiskIsDone(t *testing.T) {
	base := cutdisk.New(diskSize)
	whole := base.Clone(diskSize)
	if _, err := use(whole); err != nil {
		t.Fatal(err)
	}
	err := cutdisk.EveryCut(base, whole.Log, func(d *cutdisk.Disk) error {
		if _, err := ptable.Read(d, d.Size, 512); errors.Is(err, ptable.ErrNone) {
			return nil
		}
		return finished(d)
	})
	if err != nil {
		t.Error(err)
	}
}

// Every read, write and sync fails in turn: that is told, and the next try
// finishes.
func TestEveryCallToTheDiskFails(t *testing.T) {
	for n := 1; ; n++ {
		d, calls := cutdisk.New(diskSize), 0
		d.Fault = func() error {
			if calls++; calls == n {
				return errors.New("injected fault")
			}
			return nil
		}
		_, err := use(d)
		if calls < n {
			t.Logf("%d calls", calls)
			if err != nil || calls < 10 {
				t.Error(err)
			}
			return
		}
		if err == nil && finished(d.Clone(diskSize)) != nil {
			t.Errorf("call %d failed, and nobody was told", n)
		}
		again := d.Clone(diskSize)
		if _, err := use(again); err != nil {
			t.Errorf("after call %d failed: %v", n, err)
		} else if err := finished(again); err != nil {
			t.Errorf("after call %d failed: %v", n, err)
		}
	}
}

// A disk that was finished is never formatted again, whichever sector is lost.
func TestAFinishedDiskIsNeverFormatted(t *testing.T) {
	whole := cutdisk.New(diskSize)
	if _, err := use(whole); err != nil {
		t.Fatal(err)
	}
	idle := whole.Clone(diskSize)
	if formatted, err := use(idle); err != nil || formatted || len(idle.Log) > 0 {
		t.Fatalf("an idle start: formatted %v, %d writes, %v", formatted, len(idle.Log), err)
	}
	for sector := range whole.Sectors {
		for what, with := range map[string][]byte{"zeros": make([]byte, 512), "ones": bytes.Repeat([]byte{0xff}, 512), "noise": bytes.Repeat([]byte("noise..."), 64)} {
			d := whole.Clone(diskSize)
			d.Sectors[sector] = with
			if formatted, _ := use(d); formatted {
				t.Errorf("formatted after sector %d became %s", sector, what)
			}
		}
	}
}

// The copy of a disk on a larger one grows, is not formatted, and survives
// power cuts meanwhile.
func TestPowerCutsWhileADiskGrows(t *testing.T) {
	small := cutdisk.New(diskSize)
	if _, err := use(small); err != nil {
		t.Fatal(err)
	}
	base := small.Clone(2 * diskSize)
	whole := base.Clone(base.Size)
	if formatted, err := use(whole); err != nil || formatted || len(whole.Log) == 0 {
		t.Fatal(formatted, err)
	}
	err := cutdisk.EveryCut(base, whole.Log, func(d *cutdisk.Disk) error {
		if formatted, err := use(d); err != nil || formatted {
			return fmt.Errorf("formatted %v, %w", formatted, err)
		}
		return finished(d)
	})
	if err != nil {
		t.Error(err)
	}
}

// Other people's programs find no fault with the table.
func TestTheTableIsJudged(t *testing.T) {
	d := cutdisk.New(diskSize)
	if _, err := use(d); err != nil {
		t.Fatal(err)
	}
	name := blankFile(t, diskSize)
	write(t, name, d)
	judge(t, "sgdisk", "-v", name)
	judge(t, "sfdisk", "-V", name)
}
