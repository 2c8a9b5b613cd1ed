//go:build e2e

package e2e

import (
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// biosComputer is a machine without UEFI.
func biosComputer(t *testing.T) *computer {
	t.Helper()
	c := newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	c.config.BIOS = true
	c.personalise()
	return c
}

// TestABIOSFallsBackByItself: GRUB counts tries, and takes the other slot where
// there is no kernel in this one.
func TestABIOSFallsBackByItself(t *testing.T) {
	t.Parallel()
	c := biosComputer(t)
	c.powerOn()
	c.see(`init: slot a on (?s:.*)init: starting the system`)
	c.Kill()

	broken := func(*tree.Tree) *tree.Tree { return nil }
	c.install(tries(1), broken)
	c.putBootFile("b/vmlinuz", nil)
	c.powerOn()
	c.see(`Slot b is on trial: try 1 of 1\.\s+Starting slot b\.(?s:.*)Slot b cannot be started\.\s+Starting slot a\.`)
	c.see(`init: slot a on `)
	c.Kill()
	c.counted("2-b", 1)

	c.install(tries(2), broken)
	c.fallsBack(2, "slot b.* is damaged")
	c.Kill()
	c.counted("2-b", 2)
}

// TestABIOSStartsTheNode tells the life of a node in a machine without UEFI: first
// boot, second, trials that fail, one that is good. Then the disk is put into a
// machine with UEFI, where it goes on.
func TestABIOSStartsTheNode(t *testing.T) {
	t.Parallel()
	c := biosComputer(t)
	for range 2 {
		c.powerOn()
		c.see(`Starting slot a\.`)
		c.untilRunning()
		c.cameByBIOS()
		c.runsSlot("a", false)
		c.powerOff()
		c.diskIsValid()
	}

	c.install(tries(1), withInit(diesAtOnce))
	c.fallsBack(1, "This system dies at once")
	c.untilRunning()
	c.saysThatTheTrialFailed()
	c.powerOff()

	c.install(tries(1), neverHealthy)
	c.fallsBack(1, "Restart, so that the boot loader tries again or falls back")
	c.untilRunning()
	c.saysThatTheTrialFailed()
	c.powerOff()

	c.keepsAGoodOne(c.cameByBIOS)

	c.config.BIOS = false
	c.powerOn()
	c.untilRunning()
	c.runsSlot("b", false)
	if got := c.sh("test -d /sys/firmware/efi && echo UEFI"); got != "UEFI" {
		t.Error("the machine has no UEFI")
	}
	c.powerOff()
}

func (c *computer) cameByBIOS() {
	c.t.Helper()
	if got := c.sh("test -d /sys/firmware/efi || echo BIOS"); got != "BIOS" {
		c.t.Errorf("the machine has UEFI: %s", got)
	}
}

// counted looks at what GRUB counted, in a file that must keep its size.
func (c *computer) counted(entry string, tries int) {
	c.t.Helper()
	if got, want := c.bootFile(slot.CountFile), string(slot.CountEnv(entry, tries)); got != want {
		c.t.Errorf("GRUB's file is %.60q, not %.60q", got, want)
	}
}

// TestTheBIOSPartitionCostsNothing: it lies where nothing lay.
func TestTheBIOSPartitionCostsNothing(t *testing.T) {
	with, without := openImage(t, image(t, "generic-amd64")).Layout, openImage(t, image(t, "optiplex-7050")).Layout
	if with.Partitions[0].Start != without.Partitions[0].Start || with.Partitions[1].Start != without.Partitions[1].Start {
		t.Errorf("the partitions of %+v moved from %+v", with, without)
	}
	bios := with.Partition(contract.NameBIOS)
	if bios == nil || bios.Type != contract.TypeBIOS || bios.Number != contract.PartBIOS || bios.End() > with.Partitions[0].Start {
		t.Errorf("the BIOS boot partition is %+v", bios)
	}
}
