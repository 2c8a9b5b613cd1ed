package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
	"github.com/going-mobile/imagebuilder/firstboot/installer"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// TestNeedsIsWhatArrangeNeeds: a disk of exactly that size can be arranged, so the first start on
// an accepted disk does not find it too small.
func TestNeedsIsWhatArrangeNeeds(t *testing.T) {
	for _, slot := range []int64{4 * mib, 16 * mib, 1000 * mib} {
		table := gptDisk("sda", guidA, espA, "", false).Table
		need := needs(table, slot)
		plan, err := installer.New(table, need, []byte("order"), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := arrange(plan.Table, slot, testIDs()); err != nil {
			t.Errorf("slots of %d MiB: %v", slot/mib, err)
		}
		plan, err = installer.New(table, need-4*alignment, []byte("order"), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := arrange(plan.Table, slot, testIDs()); !errors.Is(err, errTooSmall) {
			t.Errorf("slots of %d MiB: much more than needed is asked for: %v", slot/mib, err)
		}
	}
}

// TestTheInstalledDiskIsNoTwin: the disk that the firmware starts is chosen; if the boot loader
// does not say which one, the stick is, which knows what to do.
func TestTheInstalledDiskIsNoTwin(t *testing.T) {
	stick := gptDisk("sda", guidA, espA, "/usb1/", false)
	plan, err := installer.New(stick.Table, 8<<30, []byte("order"), "")
	if err != nil {
		t.Fatal(err)
	}
	disk := disks.Disk{Name: "vda", Label: "vda", Table: plan.Table}
	esp := plan.Table.Entry(contract.PartBoot).ID
	for want, by := range map[string]string{"vda": esp, "sda": espA} {
		if d, err := choose([]disks.Disk{stick, disk}, by, contract.Args{DiskID: guidA}, efiboot.Unknown, false); err != nil || d.Name != want {
			t.Errorf("%s: %s %v", want, d.Name, err)
		}
	}
	if d, err := choose([]disks.Disk{stick, disk}, "", contract.Args{DiskID: guidA}, efiboot.Unknown, false); err != nil || d.Name != "sda" {
		t.Errorf("without the loader's word: %s %v", d.Name, err)
	}
	if args := (contract.Args{DiskID: guidA, Slot: "a"}); mayBeStick(plan.Table, args) || !mayBeStick(stick.Table, args) {
		t.Error("the disk would follow the order that the stick has")
	}
	if mayBeStick(stick.Table, contract.Args{DiskID: guidA, Slot: "b"}) {
		t.Error("a disk that was updated may be a stick")
	}
}

// TestASticksTwin: a disk that the same image was written to has the IDs of the stick. The firmware
// decides which of the two it is. If it does not say, the disk is chosen, and the stick, which may
// have been started just as well, is checked for an order.
func TestASticksTwin(t *testing.T) {
	const usb, mmc = "/sys/devices/pci/usb1/1-1", "/sys/devices/pci/mmc_host/mmc0"
	stick, card := gptDisk("sdb", guidA, espA, usb, false), gptDisk("mmcblk0", guidA, espA, mmc, false)
	disk, another := gptDisk("sda", guidA, espA, "/sys/devices/pci/ata1", true), gptDisk("sdc", espB, espB, usb, false)
	for medium, want := range map[efiboot.Medium]string{efiboot.USB: "sdb", efiboot.Unknown: "sda", efiboot.Other: "sda"} {
		m, bus := startedFrom("", medium)
		if d, err := choose([]disks.Disk{disk, stick}, espA, contract.Args{DiskID: guidA, BootDevice: bus}, m, false); err != nil || d.Name != want {
			t.Errorf("%q: %s %v", medium, d.Name, err)
		}
	}
	if d, err := choose([]disks.Disk{disk}, espA, contract.Args{DiskID: guidA, BootDevice: string(efiboot.USB)}, efiboot.USB, true); err != errNoDisk {
		t.Errorf("the stick is not waited for: %s %v", d.Name, err)
	}
	if d, err := choose([]disks.Disk{disk}, espA, contract.Args{DiskID: guidA}, efiboot.Unknown, true); err != nil {
		t.Errorf("a disk of which nobody says where it is waits: %s %v", d.Name, err)
	}
	if m, bus := startedFrom("", efiboot.Other); m != efiboot.Other || bus != "" {
		t.Errorf("a disk that is built in is looked for on %q", bus)
	}
	if m, bus := startedFrom("nvme", efiboot.Unknown); m == efiboot.Unknown || bus != "nvme" {
		t.Errorf("U-Boot's word does not count: %q on %q", m, bus)
	}
	for name, test := range map[string]struct {
		boot   disks.Disk
		medium efiboot.Medium
		want   int
	}{
		"nobody says":            {disk, efiboot.Unknown, 2},
		"the disk, it is said":   {disk, efiboot.Other, 0},
		"the stick is chosen":    {stick, efiboot.Unknown, 0},
		"another one is started": {gptDisk("vda", espB, espB, "", true), efiboot.Unknown, 1},
	} {
		if got := twins([]disks.Disk{disk, stick, card, another, foreign("sdd"), {Name: "sde", Path: usb}}, test.boot, test.medium); len(got) != test.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	page := strings.Join(strings.Fields(sameImage("DISK", "STICK").page("", "")), " ")
	for _, w := range []string{"carries the same image already", "Nothing was changed", "DISK AND STICK", "take the stick out", "Erase that one first"} {
		if !strings.Contains(page, w) {
			t.Errorf("no %q in %s", w, page)
		}
	}
	fresh := gptDisk("sda", guidA, espA, "/sys/devices/pci/ata1", false)
	if _, err := choose([]disks.Disk{fresh, stick}, espA, contract.Args{DiskID: guidA}, efiboot.Unknown, false); err == nil || !strings.Contains(asTrouble(err).Do, "Erase that one first") {
		t.Errorf("a disk that never started: %v", err)
	}
}

// TestADiskThatIsBuiltIn: if the firmware says that it started a built-in disk, a stick with the
// same IDs is not chosen, whichever of them was ever finished and whichever appears first. Only if
// no other disk appears is the firmware not believed.
func TestADiskThatIsBuiltIn(t *testing.T) {
	disk := func(done bool) disks.Disk { return gptDisk("sda", guidA, espA, "/sys/devices/pci/ata1", done) }
	stick := func(done bool) disks.Disk { return gptDisk("sdb", guidA, espA, "/sys/devices/pci/usb1/1-1", done) }
	emmc := gptDisk("mmcblk0", guidA, espA, "/sys/devices/pci/mmc_host/mmc0", false)
	emmc.Soldered = true
	for name, test := range map[string]struct {
		all   []disks.Disk
		early bool
		want  string
	}{
		"the stick was started once": {[]disks.Disk{disk(false), stick(true)}, false, "sda"},
		"both are finished":          {[]disks.Disk{disk(true), stick(true)}, false, "sda"},
		"both are finished, early":   {[]disks.Disk{disk(true), stick(true)}, true, "sda"},
		"the stick comes first":      {[]disks.Disk{stick(true)}, true, ""},
		"nothing else comes":         {[]disks.Disk{stick(true)}, false, "sdb"},
		"eMMC is built in":           {[]disks.Disk{emmc, stick(true)}, true, "mmcblk0"},
		"two are built in":           {[]disks.Disk{disk(true), emmc, stick(true)}, false, "sda"},
	} {
		d, err := choose(test.all, espA, contract.Args{DiskID: guidA}, efiboot.Other, test.early)
		if d.Name != test.want || (test.want == "") != errors.Is(err, errNoDisk) {
			t.Errorf("%s: %q, %v", name, d.Name, err)
		}
	}
}

func TestOnlyASticksOrderIsFollowed(t *testing.T) {
	for path, want := range map[string]string{"/sys/devices/pci/usb1/1-1": "", "/sys/devices/pci/mmc_host/mmc0": "", "/sys/devices/pci/nvme/nvme0": "started from a disk that is built in", "/sys/devices/pci/ata1": "built in"} {
		err := orderTrouble(disks.Disk{Path: path}, contract.GPT)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := orderTrouble(disks.Disk{Path: "/usb1"}, contract.MBR); err == nil || !strings.Contains(err.Error(), "Raspberry Pi") {
		t.Error(err)
	}
}

// medium is a node.yaml on a medium whose power may fail: what was not synced is lost.
type medium struct {
	durable, text []byte
	calls, cut    int
}

var errCut = errors.New("the power went")

func (m *medium) call() error {
	if m.calls++; m.calls == m.cut {
		return errCut
	}
	return nil
}

func (m *medium) Seek(int64, int) (int64, error) { return int64(len(m.text)), m.call() }

func (m *medium) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, m.text[min(off, int64(len(m.text))):])
	if err := m.call(); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *medium) WriteAt(p []byte, off int64) (int, error) {
	if err := m.call(); err != nil {
		return 0, err
	}
	return copy(m.text[off:], p), nil
}

func (m *medium) Sync() error {
	if err := m.call(); err != nil {
		return err
	}
	m.durable = bytes.Clone(m.text)
	return nil
}

// TestAStickIsNotedAtOnce: at every moment node.yaml either is the order or says that the order was
// followed. Anything in between would be no order, and the stick would become a node. In the end no
// secret is left.
func TestAStickIsNotedAtOnce(t *testing.T) {
	order := []byte("version: 1\nnode: cabin-box\n" + strings.Repeat("token: SECRET\n", 200))
	done := node.Installed{Node: "cabin-box", DiskID: guidA}
	for cut := 1; ; cut++ {
		m := &medium{durable: bytes.Clone(order), text: bytes.Clone(order), cut: cut}
		err := note(m, done)
		if m.calls < cut {
			if err != nil || cut < 7 {
				t.Errorf("%d calls, %v", m.calls, err)
			}
			break
		}
		for sectors := range 3 { // of what was written but not synced, the first few are there
			after := bytes.Clone(m.durable)
			copy(after, m.text[:min(len(m.text), sectors*512)])
			got, ok := node.ParseInstalled(after)
			if ok == bytes.Equal(after, order) || ok && got != done {
				t.Fatalf("cut %d: %.100q", cut, after)
			}
			again := &medium{text: after}
			if err := note(again, done); err != nil || bytes.Contains(again.text, []byte("SECRET")) || len(again.text) != len(order) {
				t.Fatalf("cut %d: %v %.600q", cut, err, again.text)
			}
			idle := &medium{text: slices.Clone(again.text)}
			if err := note(idle, done); err != nil || idle.calls != 3 {
				t.Fatalf("it is written again: %d calls, %v", idle.calls, err)
			}
		}
	}
}

// TestInstallTroublesSayWhoseTheyAre, in words, and what to do.
func TestInstallTroublesSayWhoseTheyAre(t *testing.T) {
	for _, test := range []struct {
		err              error
		what, disk, then string
	}{
		{installer.ErrStick, "The stick cannot be read properly", "STICK", "Use another stick"},
		{installer.ErrOther, "does not keep what is written", "DISK", "Use another disk"},
		{installer.ErrDisk, "cannot be written and read", "DISK", "cable and power"},
	} {
		var got *Trouble
		err := installTrouble("DISK", "STICK", fmt.Errorf("%w: input/output error", test.err))
		if !errors.As(err, &got) || !strings.Contains(got.What, test.what) || got.Disk != test.disk || !strings.Contains(got.Do, test.then) || got.Err == nil {
			t.Errorf("%v: %+v", test.err, got)
		}
		kept := asTrouble(installTrouble("DISK", "STICK", errors.Join(test.err, installer.ErrKept)))
		if kept.What == got.What || !strings.Contains(kept.What, "passwords of this computer may be on it") || !strings.Contains(kept.Do, "destroy it") {
			t.Errorf("secrets that may be on the disk: %+v", kept)
		}
	}
	for err, want := range map[error][]string{
		errAgain: {"started from it again", "Take the stick out. If the computer does not start then", "DISK"},
		errStick: {"cannot be written any more", "passwords on it may still be there", "destroy it", "STICK"},
	} {
		page := strings.Join(strings.Fields(stickStays("cabin-box", "DISK", "STICK", fmt.Errorf("%w: EIO", err)).page("build", "then")), " ")
		for _, w := range append(want, "cabin-box", "Take the stick out") {
			if !strings.Contains(page, w) {
				t.Errorf("%v: no %q in %s", err, w, page)
			}
		}
	}
	if text := stickSpent("cabin-box", "DISK"); !strings.Contains(text, "installed cabin-box on DISK") || !strings.Contains(text, "take it out") || !strings.Contains(text, "finds nothing to start") {
		t.Error(text)
	}
	if page := installedGone("cabin-box", 1).page("", ""); !strings.Contains(page, "SATA Operation to AHCI") || !strings.Contains(page, "write the stick anew") {
		t.Error(page)
	}
}
