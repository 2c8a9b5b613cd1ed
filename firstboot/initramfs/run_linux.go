package initramfs

import (
	"cmp"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
)

const sysroot = "/sysroot"

// machine is the computer on its way from the initramfs to the real root.
type machine struct {
	con    *console
	dog    *watchdog
	args   contract.Args
	state  contract.State
	build  string
	ask    func() loader
	asked  bool
	medium efiboot.Medium // that the kernel came from
	boot   disks.Disk     // the disk that the kernel came from
	disk   disks.File     // the same disk, open
	table  *ptable.Table
	ours   bool       // the disk is known to be ours, so STATUS.TXT may be written
	home   disks.Disk // the disk with /var
	stage  *stage     // nil until the disk is known to be ours, and if its image has no such file
}

// Run is PID 1. It does not return: it ends in the new root's init, in a restart (a slot on trial,
// or an installation from a stick), or with a page on the screen.
func Run() {
	m := &machine{con: &console{}, dog: &watchdog{}, ask: readLoader}
	err := m.guard(m.start)
	m.stop(err)
}

// guard turns a panic into an error: PID 1 must not die silently.
func (m *machine) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v at %s", p, lastFrames(string(debug.Stack())))
		}
	}()
	return f()
}

// lastFrames keeps the few lines of a stack that fit a screen.
func lastFrames(stack string) string {
	var at []string
	for _, line := range strings.Split(stack, "\n") {
		if file, _, ok := strings.Cut(strings.TrimSpace(line), " +0x"); ok && !strings.Contains(file, "runtime/") {
			at = append(at, filepath.Base(file))
		}
	}
	return strings.Join(at[:min(len(at), 6)], " < ")
}

func (m *machine) start() error {
	if err := mountKernel(); err != nil {
		return err
	}
	m.con.open()
	m.build = readLine("/" + contract.BuildFile)
	m.con.say("%s", m.build)
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	if m.args, err = contract.ParseArgs(string(cmdline)); err != nil {
		return err
	}
	m.state.Clock = raiseClock()
	if err := m.loadModules(); err != nil {
		return err
	}
	for _, step := range []func() error{m.findDisk, m.install, m.makeRoom, m.mountRoot, m.data, m.attic, m.etc, m.handOver} {
		m.dog.expect(stepLimit)
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// stepLimit bounds a step that may never end, such as a read from a dying card: after it nobody
// feeds the watchdog. mkfs and e2fsck of a large disk at 10 MB/s stay well below it.
const stepLimit = 30 * time.Minute

// repairLimit is for the repair that a person has allowed. A reset in the middle of it, and a new
// start from the beginning, would damage what it is meant to save. It reads every block, and of a
// large disk some blocks several times.
const repairLimit = 24 * time.Hour

// mountKernel mounts what every later step reads.
func mountKernel() error {
	for _, fs := range []struct {
		dir, kind, data string
		flags           uintptr
	}{
		{"/dev", "devtmpfs", "mode=0755", unix.MS_NOSUID},
		{"/proc", "proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"/sys", "sysfs", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"/run", "tmpfs", "mode=0755", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if _, err := mount.Mount(fs.kind, fs.dir, fs.kind, fs.data, fs.flags); err != nil {
			return fmt.Errorf("mount %s: %w", fs.dir, err)
		}
	}
	return nil
}

// findDisk waits for the boot disk: USB and SD need seconds. It gives up only for a slot on trial.
// Otherwise it says what it waits for and goes on waiting, since a cable may be plugged in at any
// time.
func (m *machine) findDisk() error {
	const patience = time.Minute
	m.con.say("looking for the disk")
	l := m.askLoader()
	esp := cmp.Or(l.espUUID, m.args.BootPart)
	m.medium, m.args.BootDevice = startedFrom(m.args.BootDevice, l.medium)
	for begin, told := time.Now(), false; ; time.Sleep(200 * time.Millisecond) {
		d, err := choose(disks.List(), esp, m.args, m.medium, time.Since(begin) < slowBus)
		switch {
		case err == nil:
			return m.openDisk(d, l.uefi)
		case err != errNoDisk:
			m.speakOn(d)
			return diskTrouble(d.Label, err)
		case time.Since(begin) > patience && m.state.Trial:
			return noDisk(m.args, esp, disks.Hidden(os.DirFS("/sys")))
		case time.Since(begin) > patience && !told:
			told = true
			m.tell(noDisk(m.args, esp, disks.Hidden(os.DirFS("/sys"))), "This computer keeps looking and goes on by itself once the disk is there.")
		}
		m.dog.expect(stepLimit)
	}
}

func (m *machine) openDisk(d disks.Disk, uefi bool) error {
	f, err := d.Open()
	if err != nil {
		return diskTrouble(d.Label, err)
	}
	m.boot, m.disk, m.table = d, f, d.Table
	m.state.Slot, m.state.Disk, m.state.DiskID = m.args.Slot, d.Name, d.Table.ID
	m.con.say("slot %s on %s", m.args.Slot, d.Label)
	if uefi && !m.state.Trial {
		m.askNames(m.onBoot)
	}
	return nil
}

// speakOn allows a page to be written to a disk that is ours and cannot be used, such as a copy on
// a smaller disk. The kernel is then shown only its boot partition.
func (m *machine) speakOn(d disks.Disk) {
	if d.Table == nil || checkOurs(d.Table) != nil {
		return
	}
	f, err := d.Open()
	if err == nil {
		boot := d.Table.Clone()
		boot.Entries = []ptable.Entry{*boot.Entry(contract.PartBoot)}
		err = f.Follow(boot)
	}
	if err != nil {
		m.con.log("init: " + err.Error())
		return
	}
	m.boot, m.disk, m.ours = d, f, true
}

// makeRoom brings the partition table into its final form and shows it to the kernel. Even faults
// of the disk are written to it from here on: it was chosen, so it is known to be ours.
func (m *machine) makeRoom() error {
	if err := m.disk.Follow(m.table); err != nil {
		m.con.log("init: " + err.Error())
	}
	m.ours = true
	m.findStage()
	want, err := makeRoom(m.disk, m.table, m.args.SlotSize, disks.NewGUID)
	if err != nil {
		return diskTrouble(m.boot.Label, err)
	}
	m.table = want
	if err := m.disk.Follow(want); err != nil {
		return diskTrouble(m.boot.Label, err)
	}
	return nil
}

// mountRoot mounts the slot's squashfs and makes sure that it belongs to this kernel: a mismatch
// would show only minutes later, in a system without modules.
func (m *machine) mountRoot() error {
	m.reached("mounts the system")
	part := contract.PartRootA
	if m.args.Slot == "b" {
		part = contract.PartRootB
	}
	dev, err := m.disk.Partition(part)
	if err == nil && m.args.Verity != nil {
		dev, err = verified(dev, m.args.Verity)
	}
	if err != nil {
		return m.badSlot(err)
	}
	if _, err := mount.Mount(dev, sysroot, "squashfs", "", unix.MS_RDONLY); err != nil {
		return m.badSlot(err)
	}
	if _, err := os.Stat(filepath.Join(sysroot, "usr/lib/modules", release())); err != nil {
		return m.badSlot(fmt.Errorf("the system in slot %s is not made for this kernel: %w", m.args.Slot, err))
	}
	return nil
}

// release is the release of the running kernel.
func release() string {
	var uts unix.Utsname
	_ = unix.Uname(&uts) // fails only for a bad pointer: uname(2)
	return unix.ByteSliceToString(uts.Release[:])
}

func (m *machine) badSlot(err error) error { return badSlot(m.args.Slot, m.boot.Label, err) }

// handOver leaves a note for the running system and becomes its init.
func (m *machine) handOver() error {
	m.state.Watchdog = int(m.dog.timeout().Seconds())
	if err := writeState("/", m.state); err != nil {
		return err
	}
	m.con.say("starting the system")
	m.reached("starts the system")
	log.SetOutput(io.Discard) // u-root's SwitchRoot logs every step
	m.dog.feedLast()
	if err := mount.SwitchRoot(sysroot, "/sbin/init"); err != nil {
		return m.badSlot(err)
	}
	return nil
}

// stop shows err on every console. A slot on trial then restarts, which brings back the good slot.
// Anything else waits for a person with the page in sight: a reboot loop would only hide the page
// and wear the card.
func (m *machine) stop(err error) {
	if err == nil {
		err = fmt.Errorf("init returned")
	}
	t := asTrouble(err)
	m.reached("stopped: STATUS.TXT says why")
	if m.onTrial() {
		m.tell(t, "This was the trial of a new version. The computer restarts in 30 seconds with the version it had before.")
		m.dog.expect(time.Minute)
		time.Sleep(30 * time.Second)
		reboot()
	}
	const then = "Nothing more happens by itself."
	for m.tell(t, then); ; m.con.page(t.page(m.build, then)) {
		m.dog.expect(stepLimit)
		time.Sleep(time.Minute)
	}
}

// reboot does not return. If the kernel cannot restart the machine, the watchdog does, since nobody
// feeds it any more.
func reboot() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {}
}
