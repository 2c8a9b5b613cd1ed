package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// tools are run from the real root.
var tools = disks.Chroot(sysroot)

// data finds or creates the file system for /var, and repairs, mounts and grows it.
func (m *machine) data() error {
	m.reached("mounts its data")
	leave, err := enterRoot()
	if err != nil {
		return err
	}
	defer leave()
	state := stateOf(m.table, m.table.Entry(contract.PartData))
	if state == dataElsewhere {
		id, err := recordedDisk(m.disk, m.table)
		if err != nil {
			return diskTrouble(m.boot.Label, err)
		}
		return m.dataOnDisk(disks.Want{Known: id})
	}
	owned, cfg := false, &node.Config{}
	if state == dataReady {
		if err := m.dataOnCard(state); err != nil {
			return err
		}
		owned = isOwned()
	}
	if !owned {
		cfg = m.nodeConfig()
	}
	switch moves := leavesCard(owned, cfg); {
	case !moves && state == dataReady:
		return nil
	case !moves:
		return m.dataOnCard(state)
	case state == dataReady:
		if err := unix.Unmount(sysroot+"/var", 0); err != nil {
			return err
		}
	}
	return m.dataOnDisk(disks.Want{Spec: cfg.DataDisk, Node: cfg.Node})
}

// isOwned reports whether the mounted /var holds the identity of a node.
func isOwned() bool {
	_, err := os.Stat(filepath.Join(sysroot, contract.OwnerFile))
	return !errors.Is(err, fs.ErrNotExist)
}

// dataOnCard uses the boot disk's own data partition.
func (m *machine) dataOnCard(state dataState) error {
	dev, err := m.disk.Partition(contract.PartData)
	if err != nil {
		return diskTrouble(m.boot.Label, err)
	}
	err = makeData(m.disk, m.table, state, func() error {
		m.con.say("formatting the new data partition")
		m.state.Formatted = true
		return tools.Format(dev, disks.Data)
	})
	if err != nil {
		return diskTrouble(m.boot.Label, err)
	}
	return m.mountVar(m.boot, dev, int64(m.table.Entry(contract.PartData).Sectors)*m.table.SectorSize)
}

// dataOnDisk uses a data disk. If the disk stops answering meanwhile, for example because of a
// loose cable, it waits for it again.
func (m *machine) dataOnDisk(w disks.Want) error {
	w.Purpose, w.Taken = disks.Data, []string{m.boot.Name}
	for told := false; ; time.Sleep(5 * time.Second) {
		err := m.dataOn(&w)
		if !errors.Is(err, disks.ErrUnchecked) || m.state.Trial {
			return err
		}
		if !told {
			told = true
			m.tell(asTrouble(err), goesOn)
		}
	}
}

// dataOn also records the disk. If power goes before that, the disk is found again by the mark on
// it.
func (m *machine) dataOn(w *disks.Want) error {
	v, err := m.awaitDisk(*w)
	if err != nil {
		return err
	}
	defer v.Close()
	if w.Known == "" {
		if err := recordDisk(m.disk, m.table, v.ID); err != nil {
			return diskTrouble(m.boot.Label, err)
		}
		w.Known = v.ID
	}
	m.state.DataDisk, m.state.Formatted = v.Disk.Name, v.Made || m.state.Formatted
	m.con.say("data on %s", v.Disk)
	return m.mountVar(v.Disk, v.Dev, v.Room)
}

// awaitDisk waits as long as it takes: without its data the node would be another one. It says what
// it waits for. It gives up only during a trial.
func (m *machine) awaitDisk(w disks.Want) (disks.Volume, error) {
	const spinUp = time.Minute
	m.con.say("looking for the data disk")
	told, asked := "", false
	for begin := time.Now(); ; time.Sleep(500 * time.Millisecond) {
		m.dog.expect(stepLimit)
		since := time.Since(begin)
		w.Early = mayCome(w, since, disks.StillComing(os.DirFS("/sys")))
		v, err := disks.Use(w, tools, m.con.say)
		var f *disks.Fault
		switch {
		case err == nil:
			return v, nil
		case !errors.As(err, &f):
			return v, diskTrouble("", err)
		}
		if since < slowBus || since < spinUp && (f.Code == disks.Absent || f.Code == disks.Gone) {
			continue
		}
		if w.Known != "" && !asked { // what has taken the disk's place?
			cfg := m.nodeConfig()
			w.Spec, w.Node, asked = cfg.DataDisk, cfg.Node, true
			continue
		}
		if m.state.Trial {
			return v, diskTrouble("", f)
		}
		if text := f.Error() + f.Disks; text != told {
			told = text
			m.tell(asTrouble(diskTrouble("", f)), goesOn)
		}
	}
}

// mountVar runs e2fsck as at every boot: it replays the journal after a power cut and repairs what
// it can without loss. Anything else stops the boot, unless a person has allowed more (RepairFile).
// Nothing is ever formatted here.
func (m *machine) mountVar(on disks.Disk, dev string, room int64) error {
	m.home = on
	fixed, err := tools.Check(dev, false)
	if errors.Is(err, disks.ErrDamaged) && m.mayRepair() {
		m.con.say("repairing the data partition, as %s asks; this may take long", contract.RepairFile)
		m.dog.expect(repairLimit)
		fixed, err = tools.Check(dev, true)
		m.dog.expect(stepLimit)
	}
	switch {
	case errors.Is(err, disks.ErrUnchecked):
		return noAnswer(on.Label, err)
	case errors.Is(err, disks.ErrNoExt4):
		return noData(on.Label, err)
	case err != nil:
		return damagedData(on.Label, m.table.Scheme, err)
	}
	if m.state.Repaired = fixed; fixed {
		m.con.say("the data partition was repaired")
	}
	if _, err := mount.Mount(dev, sysroot+"/var", "ext4", dataOptions, unix.MS_NOATIME); err != nil {
		return unmounted(on.Label, m.table.Scheme, err)
	}
	return tools.Grow(dev, room, m.con.say)
}

// dataOptions makes ext4 commit its journal once a minute instead of every five seconds, unless a
// program calls fsync: ext4(5). On an idle node most of the writes to a card are these commits.
const dataOptions = "commit=60"

// enterRoot mounts the kernel file systems that the tools of the real root read into that root.
// leave unmounts them again.
func enterRoot() (leave func(), err error) {
	var undo []string
	leave = func() {
		for _, dir := range undo {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := unix.Mount(dir, sysroot+dir, "", unix.MS_BIND, ""); err != nil {
			leave()
			return nil, fmt.Errorf("mount %s into the new root: %w", dir, err)
		}
		undo = append(undo, sysroot+dir)
	}
	return leave, nil
}

// writeState leaves the running system a note of the state.
func writeState(root string, s contract.State) error {
	name := filepath.Join(root, contract.StateFile)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	b, err := s.Encode()
	if err == nil && s.Trial {
		err = os.WriteFile(filepath.Join(root, contract.TrialMark), nil, 0o644)
	}
	return errors.Join(err, os.WriteFile(name, b, 0o644))
}
