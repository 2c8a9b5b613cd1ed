//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/qemu"
)

// installer is a computer with a blank disk, and a stick beside it.
type installer struct {
	*computer
	stick  string          // its file
	drives map[string]bool // what else is plugged in, as QEMU calls it
}

// targets are the ways in which a disk of serial number TARGET hangs in a machine.
var targets = map[string]string{
	"virtio": "virtio-blk-pci,serial=TARGET",
	"ahci":   "ide-hd,bus=ide.2,serial=TARGET",
	"nvme":   "nvme,serial=TARGET",
}

// newInstaller makes a stick with an order, such as "{disk: {only: true}}".
func newInstaller(t *testing.T, drive, order string) *installer {
	t.Helper()
	c := newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	c.config.Board.QEMU.Drive = targets[drive]
	i := &installer{computer: c, stick: filepath.Join(t.TempDir(), "stick.img")}
	i.order(order)
	return i
}

// flash writes the image onto the disk, with a node.yaml that has this, too.
func (i *installer) flash(yaml string) {
	i.t.Helper()
	if err := os.Remove(i.disk()); err != nil {
		i.t.Fatal(err)
	}
	if _, err := qemu.Prepare(i.config); err != nil {
		i.t.Fatal(err)
	}
	i.yaml = yaml
	i.personalise()
}

// order writes the stick anew, and empties the disk.
func (i *installer) order(order string) {
	i.t.Helper()
	i.flash("install: " + order + "\n")
	run(i.t, "cp", "--sparse=always", i.disk(), i.stick)
	i.empty()
	i.plug()
}

func (i *installer) empty() {
	i.t.Helper()
	for _, size := range []int64{0, 8 * gib} {
		if err := os.Truncate(i.disk(), size); err != nil {
			i.t.Fatal(err)
		}
	}
}

// plug puts the stick in, from which the machine starts first, and perhaps more
// disks, by their serial numbers.
func (i *installer) plug(more ...string) {
	i.config.Extra = []string{"-device", "qemu-xhci,id=xhci", "-drive", "if=none,id=stick,format=raw,cache=unsafe,file=" + i.stick,
		"-device", "usb-storage,id=stick,bus=xhci.0,drive=stick,serial=STICK,removable=on,bootindex=0"}
	i.drives = map[string]bool{"disk": true}
	for n, file := range more {
		id := fmt.Sprintf("more%d", n)
		i.drives[id] = true
		i.config.Extra = append(i.config.Extra, "-drive", "if=none,id="+id+",format=raw,cache=unsafe,file="+file, "-device", "virtio-blk-pci,drive="+id+",serial="+strings.ToUpper(id))
	}
}

// unplug starts without it.
func (i *installer) unplug() { i.config.Extra = nil }

// onStick runs a program of mtools on the stick's boot partition.
func (i *installer) onStick(program string, args ...string) (string, error) {
	i.t.Helper()
	for _, p := range openImage(i.t, i.stick).Layout.Partitions {
		if p.Number != contract.PartBoot {
			continue
		}
		cmd := exec.Command(program, append([]string{"-i", fmt.Sprintf("%s@@%d", i.stick, p.Start)}, args...)...)
		cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	i.t.Fatal("the stick has no boot partition")
	return "", nil
}

// stickFile reads a file of the stick's boot partition.
func (i *installer) stickFile(name string) string {
	i.t.Helper()
	out, err := i.onStick("mtype", "::"+name)
	if err != nil {
		i.t.Fatalf("mtype: %v\n%s", err, out)
	}
	return out
}

// isRetired says that no firmware starts the stick any more, and that it says so.
func (i *installer) isRetired() {
	i.t.Helper()
	i.isSpent()
	if out, err := i.onStick("mdir", "-b", "::EFI/BOOT"); err != nil || strings.Contains(out, contract.EFIBootAMD64) {
		i.t.Errorf("the stick has a boot loader: %v\n%s", err, out)
	}
	if status := i.stickFile("STATUS.TXT"); !strings.Contains(status, "No computer starts from it any more") {
		i.t.Errorf("STATUS.TXT says:\n%s", status)
	}
}

// isLeftAlone says that nothing of this start came from the stick.
func (i *installer) isLeftAlone() {
	i.t.Helper()
	if n := i.written("stick"); n != 0 {
		i.t.Errorf("%d bytes were written to the stick", n)
	}
}

// isSpent says that the stick knows what it did, and keeps no secret.
func (i *installer) isSpent() {
	i.t.Helper()
	if got := i.stickFile("node.yaml"); !strings.HasPrefix(got, "# This stick has installed node test-node on disk ") {
		i.t.Errorf("the stick's node.yaml begins with %.100q", got)
	}
	for _, secret := range []string{"hskey-auth-abcdefghijkl", "token: abcdefghijklmnop"} {
		found := run(i.t, "sh", "-c", "head -c 1G "+i.stick+" | grep -caF '"+secret+"' || true")
		if strings.TrimSpace(found) != "0" {
			i.t.Errorf("the stick still has %s", secret)
		}
	}
	if len(openImage(i.t, i.stick).Layout.Partitions) != 3 {
		i.t.Error("the stick was grown")
	}
}

// runsFromDisk says that the disk, and not the stick, holds what runs.
func (i *installer) runsFromDisk() {
	i.t.Helper()
	disk := i.sh("basename $(readlink -f /dev/disk/by-id/*TARGET | head -1)")
	for what, command := range map[string]string{
		"the boot disk": "sed -n 's/.*\"disk\": \"\\(.*\\)\".*/\\1/p' /run/imagebuilder/boot.json",
		"/var":          "lsblk -no PKNAME $(findmnt -no SOURCE /var)",
		"the root":      "lsblk -no PKNAME $(findmnt -no SOURCE /)",
	} {
		if got := i.sh(command); got != disk {
			i.t.Errorf("%s is %s, and the disk is %s", what, got, disk)
		}
	}
	i.fillsDisk(8 * gib)
}

// TestAStickInstalls tells how a node comes onto a disk: the stick copies itself,
// the machine restarts from the disk and goes on as if it had been flashed. A stick
// that is left in is passed by, though the firmware is told to start it first, and is
// not needed.
func TestAStickInstalls(t *testing.T) {
	t.Parallel()
	for drive := range targets {
		t.Run(drive, func(t *testing.T) {
			t.Parallel()
			i := newInstaller(t, drive, "{disk: {serial: TARGET}}")
			i.powerOn()
			i.see(`init: this stick installs node test-node(?s:.*)100 %(?s:.*)init: restarting from that disk`)
			i.untilRunning()
			i.isHealthy()
			i.runsFromDisk()
			born := i.identity()
			i.powerOff()
			i.diskIsValid()
			i.isRetired()

			i.powerOn()
			i.untilRunning()
			i.runsFromDisk()
			i.isLeftAlone()
			if again := i.identity(); again != born {
				t.Errorf("the node's identity changed\n%s\n%s", born, again)
			}
			i.powerOff()
			i.isRetired()

			i.unplug()
			i.powerOn()
			i.untilRunning()
			i.isHealthy()
			if again := i.identity(); again != born {
				t.Errorf("the node's identity changed\n%s\n%s", born, again)
			}
			i.powerOff()
			i.diskIsValid()
		})
	}
}

// TestAStickInstallsUnderABIOS, which takes no orders and starts the stick again:
// GRUB starts the disk from there. Where it cannot, the stick has to be pulled out.
func TestAStickInstallsUnderABIOS(t *testing.T) {
	t.Parallel()
	const chains = `This stick has done its work and starts the disk that it made`
	i := newInstaller(t, "ahci", "{disk: {only: true}}")
	i.config.BIOS = true
	i.powerOn()
	i.see(`init: restarting from that disk(?s:.*)` + chains)
	i.untilRunning()
	i.cameByBIOS()
	i.runsFromDisk()
	i.powerOff()
	i.diskIsValid()
	i.isRetired()

	i.powerOn()
	i.see(chains)
	i.untilRunning()
	i.runsFromDisk()
	i.isLeftAlone()
	i.powerOff()

	env := filepath.Join(t.TempDir(), "grubenv")
	if err := os.WriteFile(env, slot.CountEnv("", 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := i.onStick("mcopy", "-o", env, "::"+slot.CountFile); err != nil {
		t.Fatalf("mcopy: %v\n%s", err, out)
	}
	i.powerOn()
	i.see(`Take\s+the\s+stick\s+out`)
	if _, err := qemu.Execute(i.config.QMP, "device_del", map[string]any{"id": "stick"}); err != nil {
		t.Fatal(err)
	}
	i.untilRunning()
	i.runsFromDisk()
	i.powerOff()
}

// TestAStickThatMustNotInstallSaysWhy, and changes no disk.
func TestAStickThatMustNotInstallSaysWhy(t *testing.T) {
	t.Parallel()
	i := newInstaller(t, "virtio", "{disk: {only: true}}")
	foreign := spare(t, 6*gib)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", foreign)
	refuses := func(words ...string) {
		t.Helper()
		i.powerOn()
		for _, w := range words {
			i.see(strings.ReplaceAll(w, " ", `\s+`))
		}
		time.Sleep(2 * time.Second) // STATUS.TXT comes after the page
		for drive := range i.drives {
			if n := i.written(drive); n != 0 {
				t.Errorf("%s: %d bytes were written to %s", words[0], n, drive)
			}
		}
		i.Kill()
		status := strings.Join(strings.Fields(i.stickFile("STATUS.TXT")), " ")
		if !strings.Contains(status, words[0]) {
			t.Errorf("STATUS.TXT lacks %q:\n%s", words[0], status)
		}
	}
	i.plug(foreign)
	refuses("More than one disk could be the disk to install on", "virtio-TARGET", "virtio-MORE0")

	i.order("{disk: {serial: MORE0}}")
	i.plug(foreign)
	refuses("is not empty: there is a Linux file system", "wipe: true")

	i.order("{disk: {serial: ABSENT}}")
	refuses("is not there", "virtio-TARGET")

	small := spare(t, gib)
	i.order("{disk: {serial: MORE0}, wipe: true}")
	i.plug(small)
	refuses("is too small: it holds 1.1 GB")

	// A node lives on the disk, by the same image that is on the stick.
	i.order("{disk: {serial: TARGET}}")
	i.powerOn()
	i.see(`init: restarting from that disk`)
	i.untilRunning()
	i.powerOff()
	lived := filepath.Join(t.TempDir(), "lived.img")
	run(t, "cp", "--sparse=always", i.disk(), lived)
	i.order("{disk: {serial: TARGET}, wipe: true}")
	run(t, "cp", "--sparse=always", lived, i.disk())
	refuses("holds the data of a node", "replaceData: true")

	i.order("{disk: {serial: TARGET}, replaceData: true}")
	run(t, "cp", "--sparse=always", lived, i.disk())
	i.powerOn()
	i.see(`init: restarting from that disk`)
	i.untilRunning()
	i.runsFromDisk()
	i.powerOff()
	i.isSpent()
}

// TestAStickInstallsOnItsTwin: on a disk that the same image was written to, before it
// ever started, and when a node lives on it. UEFI tells which of the two it started.
func TestAStickInstallsOnItsTwin(t *testing.T) {
	t.Parallel()
	i := newInstaller(t, "nvme", "{disk: {serial: TARGET}, wipe: true, replaceData: true}")
	fresh := filepath.Join(t.TempDir(), "fresh.img")
	run(t, "cp", "--sparse=always", i.stick, fresh)
	for _, lived := range []bool{false, true} {
		run(t, "cp", "--sparse=always", fresh, i.stick)
		i.flash("")
		if lived {
			i.unplug()
			i.powerOn()
			i.untilRunning()
			i.powerOff()
			i.plug()
		}
		i.powerOn()
		i.see(`init: this stick installs node test-node(?s:.*)init: restarting from that disk`)
		i.untilRunning()
		i.runsFromDisk()
		i.powerOff()
		i.diskIsValid()
		i.isRetired()
	}
}

// TestAStickAndItsTwinUnderABIOS, which does not tell which of them it started: nothing
// is done to either, and the disk starts when the stick is out.
func TestAStickAndItsTwinUnderABIOS(t *testing.T) {
	t.Parallel()
	i := newInstaller(t, "ahci", "{disk: {serial: TARGET}, wipe: true, replaceData: true}")
	i.config.BIOS = true
	i.flash("")
	i.powerOn()
	i.see(`carry\s+the\s+same\s+system(?s:.*)Erase\s+that\s+one\s+first`)
	i.Kill()

	i.unplug()
	i.powerOn()
	i.untilRunning()
	born := i.identity()
	i.powerOff()
	i.plug()
	i.powerOn()
	i.see(`carries\s+the\s+same\s+image\s+already(?s:.*)take\s+the\s+stick\s+out`)
	for _, drive := range []string{"disk", "stick"} {
		if n := i.written(drive); n != 0 {
			t.Errorf("%d bytes were written to %s", n, drive)
		}
	}
	i.untilRunning()
	if again := i.identity(); again != born {
		t.Errorf("the node's identity changed\n%s\n%s", born, again)
	}
	i.powerOff()
}

// TestAStickIsNoNode: a disk that a node lives on follows no order, and starts.
func TestAStickIsNoNode(t *testing.T) {
	t.Parallel()
	c := newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	c.personalise()
	c.powerOn()
	c.untilRunning()
	born := c.identity()
	c.powerOff()
	c.yaml = "install: {disk: {only: true}, wipe: true, replaceData: true}\n"
	c.personalise()
	c.with(map[string]string{"own": spare(t, 8*gib)})
	c.powerOn()
	c.see("init: node.yaml says what a stick installs, but a node lives on this disk")
	c.untilRunning()
	if again := c.identity(); again != born || c.written("own") != 0 {
		t.Errorf("the node's identity changed, or the other disk: %d bytes\n%s\n%s", c.written("own"), born, again)
	}
	c.powerOff()
}

// TestAStickInstallSurvivesPowerCuts pulls the plug CUTS times (30) while a stick
// installs, each time at another moment, and lets it finish.
func TestAStickInstallSurvivesPowerCuts(t *testing.T) {
	t.Parallel()
	cuts, seed := number(t, "CUTS", 30), number(t, "POWERCUT_SEED", int(time.Now().Unix()))
	t.Logf("POWERCUT_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	i := newInstaller(t, "virtio", "{disk: {serial: TARGET}}")
	fresh := filepath.Join(t.TempDir(), "fresh.img")
	run(t, "cp", "--sparse=always", i.stick, fresh)
	again := func() {
		run(t, "cp", "--sparse=always", fresh, i.stick)
		i.empty()
	}
	const from, to, runs = `init: installing on`, `init: restarting from that disk`, `init: slot a on vd(?s:.*)init: starting the system`
	i.powerOn()
	i.see(from)
	begin := time.Now()
	i.see(to)
	whole := time.Since(begin) + 3*time.Second // what comes after it, too
	i.see(runs)
	i.Kill()
	t.Logf("installing takes %v", whole.Round(time.Millisecond))
	unfinished, done := 0, 0
	for cut := range cuts {
		again()
		at := whole*time.Duration(cut)/time.Duration(cuts) + time.Duration(rnd.Int64N(int64(whole)/int64(cuts)))
		i.powerOn()
		i.see(from)
		time.Sleep(at)
		i.Kill()
		if strings.HasPrefix(markOf(t, i.disk()), "imagebuilder: making system disk") {
			unfinished++
		} else if strings.HasPrefix(i.stickFile("node.yaml"), "# This stick has installed") {
			done++
		}
		i.startsTo(runs)
		i.Kill()
		i.tableIsValid()
		i.bootPartitionIsSound()
		i.isSpent()
	}
	t.Logf("%d of %d finished; %d of them were cut while the disk was unfinished, %d when the stick had noted it", cuts, cuts, unfinished, done)
}
