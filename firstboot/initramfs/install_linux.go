package initramfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
	"github.com/going-mobile/imagebuilder/firstboot/installer"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// install follows the order in a stick's node.yaml: it copies the system onto a disk of the
// computer and restarts from there. A stick that has already done that starts the disk that it
// made. install returns if nothing is ordered, and on a disk that a node lives on: that disk has to
// start, whatever somebody wrote into its node.yaml.
func (m *machine) install() error {
	if !mayBeStick(m.table, m.args) || m.state.Trial {
		return nil
	}
	if err := m.disk.Follow(m.table); err != nil {
		return diskTrouble(m.boot.Label, err)
	}
	m.refuseTwin()
	text, err := m.nodeText()
	if err != nil {
		m.con.log("init: " + err.Error())
		return nil
	}
	done, isDone := node.ParseInstalled(text)
	cfg, err := node.Load(node.FileName, text)
	if !isDone && (err != nil || cfg.Install == nil) {
		return nil
	}
	if m.isLivedOn() {
		m.con.say("node.yaml says what a stick installs, but a node lives on this disk: it starts")
		return nil
	}
	m.ours = true
	if isDone {
		return m.leaveTo(done)
	}
	if err := orderTrouble(m.boot, m.table.Scheme); err != nil {
		return err
	}
	return m.follow(cfg, text)
}

// refuseTwin waits, and restarts, while there is a stick with an order and with the same IDs as the
// chosen disk. To start the disk silently would ignore the order, and might use the stick's kernel,
// whose slot is not the disk's. A disk that a node lives on starts all the same: whoever forgot a
// stick in the computer may be far away.
func (m *machine) refuseTwin() {
	for begin := time.Now(); m.medium == efiboot.Unknown && disks.StillComing(os.DirFS("/sys")) && time.Since(begin) < slowBus; {
		time.Sleep(200 * time.Millisecond)
	}
	for _, d := range twins(disks.List(), m.boot, m.medium) {
		cfg, err := orderOn(d)
		if err != nil {
			m.con.log("init: " + err.Error())
		}
		if err != nil || cfg.Install == nil {
			continue
		}
		const out = "The computer restarts by itself when the stick is out."
		if !m.isLivedOn() {
			m.tell(sameImage(m.boot.Label, d.Label), out)
			m.awaitUnplugged(d)
			reboot()
		}
		m.tell(sameImage(m.boot.Label, d.Label), out+" A node lives on the disk: in two minutes it starts.")
		if m.unpluggedWithin(d, livedPause) {
			reboot()
		}
		m.con.say("a node lives on %s: it starts", m.boot.Label)
		return
	}
}

// livedPause is how long a page can be read before a node starts although nobody answers.
const livedPause = 2 * time.Minute

// orderOn reads the node.yaml of a disk other than the boot disk.
func orderOn(d disks.Disk) (cfg *node.Config, err error) {
	err = onPartition("/dev/"+disks.PartitionName(d.Name, contract.PartBoot), unix.MS_RDONLY, func(dir string) error {
		text, err := os.ReadFile(filepath.Join(dir, node.FileName))
		if err == nil {
			cfg, err = node.Load(node.FileName, text)
		}
		return err
	})
	return cfg, err
}

func (m *machine) nodeText() (text []byte, err error) {
	err = m.onBoot(unix.MS_RDONLY, func(dir string) error {
		text, err = os.ReadFile(filepath.Join(dir, node.FileName))
		return err
	})
	return text, err
}

// isLivedOn looks for a node's identity on the boot disk. It is also true for data that cannot be
// read, which may be somebody's.
func (m *machine) isLivedOn() bool {
	const dir = "/run/data"
	data := m.table.Entry(contract.PartData)
	if data == nil || stateOf(m.table, data) == dataPending {
		return false
	}
	dev, err := m.disk.Partition(contract.PartData)
	if err != nil || stateOf(m.table, data) == dataElsewhere || os.MkdirAll(dir, 0o700) != nil {
		return true
	}
	defer os.Remove(dir)
	mp, err := mount.Mount(dev, dir, "ext4", "noload", unix.MS_RDONLY) // writes nothing, not even a replay of the journal
	if err != nil {
		return true
	}
	_, err = os.Stat(filepath.Join(dir, strings.TrimPrefix(contract.OwnerFile, "var/")))
	return mp.Unmount(0) != nil || !errors.Is(err, os.ErrNotExist)
}

// follow does what a stick's node.yaml orders, with this stick's image. After a power cut each step
// is repeated, and finds what has already been done.
func (m *machine) follow(cfg *node.Config, order []byte) error {
	m.con.say("this stick installs node %s", cfg.Node)
	m.findStage()
	m.reached("installs its system on a disk")
	image := make([]byte, 512) // the superblock of the squashfs differs from image to image
	if _, err := m.disk.ReadAt(image, int64(m.table.Entry(contract.PartRootA).First)*m.table.SectorSize); err != nil {
		return installTrouble("", m.boot.Label, fmt.Errorf("%w: %w", installer.ErrStick, err))
	}
	d, plan, err := m.awaitTarget(cfg, append(order, image...))
	if err != nil {
		return err
	}
	if plan.Done(d.Table) {
		m.con.say("%s has the system already", d)
	} else if err := m.copyTo(d, plan, cfg.Node); err != nil {
		return installTrouble(d.String(), m.boot.Label, err)
	}
	return m.leaveTo(node.Installed{Node: cfg.Node, DiskID: plan.Table.ID})
}

// awaitTarget waits as long as it takes for the disk that the order names, and says what it waits
// for.
func (m *machine) awaitTarget(cfg *node.Config, order []byte) (disks.Disk, *installer.Plan, error) {
	const spinUp = time.Minute
	want, slow := cfg.Install, slowBus
	if want.Disk.Serial == "" { // the named disk may be the slowest
		slow = spinUp
	}
	m.con.say("looking for the disk to install on: %s", want.Disk)
	t := disks.Target{Want: *want, Stick: m.boot, Need: needs(m.table, m.args.SlotSize), Kept: []node.Disk{cfg.DataDisk, cfg.Longhorn.Disk}}
	told := ""
	for begin := time.Now(); ; time.Sleep(500 * time.Millisecond) {
		m.dog.expect(stepLimit)
		since := time.Since(begin)
		t.Early, t.Hidden = since < slow, disks.Hidden(os.DirFS("/sys"))
		d, plan, err := m.target(t, order)
		var f *disks.Fault
		switch {
		case err == nil:
			return d, plan, nil
		case !errors.As(err, &f):
			return d, nil, diskTrouble(d.Label, err)
		case f.Code == disks.Absent && since < spinUp:
			continue
		}
		if text := f.Error() + f.Disks; text != told {
			told = text
			m.tell(asTrouble(diskTrouble("", f)), "This computer goes on by itself once that is mended. A change of node.yaml counts when it is switched off and on.")
		}
	}
}

// target returns the disk that the order names among those present now, and the plan to install on
// it.
func (m *machine) target(t disks.Target, order []byte) (disks.Disk, *installer.Plan, error) {
	d, err := t.Find(disks.List())
	if err != nil {
		return d, nil, err
	}
	plan, err := installer.New(m.table, d.Size, order, d.Serial)
	if err != nil || plan.Done(d.Table) {
		return d, plan, err
	}
	f, err := os.Open("/dev/" + d.Name)
	if err != nil {
		return d, nil, err
	}
	defer f.Close()
	return d, plan, t.Judge(d, f)
}

func (m *machine) copyTo(d disks.Disk, plan *installer.Plan, name string) error {
	f, err := d.OpenUnused()
	if err != nil {
		return fmt.Errorf("%w: %w", installer.ErrDisk, err)
	}
	defer f.Close()
	m.con.say("installing on %s: do not switch off, do not take the stick out", d)
	shown := int64(-1)
	return plan.Run(m.disk, f, disks.UnfinishedSystem(name), func(done, all int64) {
		m.dog.expect(stepLimit)
		if percent := done * 100 / all; percent != shown {
			shown = percent
			m.con.write(fmt.Sprintf("\r  %3d %%", percent))
		}
		if done == all {
			m.con.write("\r\n")
		}
	})
}

// noteOnStick overwrites node.yaml in place, and its secrets with it.
func (m *machine) noteOnStick(done node.Installed) error {
	err := m.onBoot(0, func(dir string) error {
		f, err := os.OpenFile(filepath.Join(dir, node.FileName), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(note(f, done), f.Close())
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errStick, err)
	}
	return nil
}

// leaveTo restarts the computer from the disk that the stick has installed. Nothing is written to
// that disk any more. What a power cut leaves undone is done at the next start, from whichever
// disk: first the secrets are removed from the stick, then the firmware learns of the disk, and
// only then does the stick stop being a boot disk.
func (m *machine) leaveTo(done node.Installed) error {
	noted := m.noteOnStick(done)
	d := m.awaitInstalled(done)
	m.con.say("this stick has installed node %s on %s", done.Node, d)
	if err := startNext(d, done.Node); err != nil {
		m.con.log("init: " + err.Error())
	}
	err := noted
	if err == nil {
		m.status(stickSpent(done.Node, d.String()))
		err = m.retire(done, d.Table.Entry(contract.PartBoot).ID)
	}
	if err == nil {
		m.con.say("restarting from that disk")
		reboot()
	}
	m.tell(stickStays(done.Node, d.String(), m.boot.Label, err), "The computer restarts by itself when the stick is out.")
	m.awaitUnplugged(m.boot)
	reboot()
	return nil
}

func (m *machine) retire(done node.Installed, disk string) error {
	err := m.onBoot(0, func(dir string) error { return retire(dir, runtime.GOARCH, disk) })
	if err != nil {
		return err
	}
	return m.onBoot(unix.MS_RDONLY, func(dir string) error { return checkRetired(dir, runtime.GOARCH, done) })
}

// awaitInstalled waits for the disk that the stick has installed.
func (m *machine) awaitInstalled(done node.Installed) disks.Disk {
	const patience = time.Minute
	for begin, told := time.Now(), false; ; time.Sleep(500 * time.Millisecond) {
		m.dog.expect(stepLimit)
		for _, d := range disks.List() {
			if d.Err == nil && d.Table != nil && d.Table.ID == done.DiskID && d.Table.Entry(contract.PartBoot) != nil {
				return d
			}
		}
		if time.Since(begin) > patience && !told {
			told = true
			m.tell(installedGone(done.Node, disks.Hidden(os.DirFS("/sys"))), "This computer keeps looking and goes on by itself once the disk is there.")
		}
	}
}

// awaitUnplugged returns once the disk is unplugged.
func (m *machine) awaitUnplugged(d disks.Disk) {
	for !m.unpluggedWithin(d, time.Hour) {
	}
}

// unpluggedWithin waits up to limit for the disk to be unplugged, and reports whether it was.
func (m *machine) unpluggedWithin(d disks.Disk, limit time.Duration) bool {
	same := func(o disks.Disk) bool { return o.Name == d.Name && o.Path == d.Path }
	for begin := time.Now(); slices.ContainsFunc(disks.List(), same); time.Sleep(time.Second) {
		if time.Since(begin) > limit {
			return false
		}
		m.dog.expect(stepLimit)
	}
	return true
}
