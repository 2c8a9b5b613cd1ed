package initramfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// data makes, repairs, mounts and grows the data partition.
func (m *machine) data() error {
	dev, err := m.disk.partition(contract.PartData)
	if err != nil {
		return diskTrouble(candidate{label: m.disk.label}, err)
	}
	leave, err := enterRoot()
	if err != nil {
		return err
	}
	defer leave()
	state := stateOf(m.table, m.table.Entry(contract.PartData))
	if err := makeData(m.disk, m.table, state, func() error { return m.format(dev) }); err != nil {
		return diskTrouble(candidate{label: m.disk.label}, err)
	}
	if err := m.repair(dev); err != nil {
		return err
	}
	if _, err := mount.Mount(dev, sysroot+"/var", "ext4", "", unix.MS_NOATIME); err != nil {
		return damagedData(m.disk.label, err)
	}
	return m.grow(dev)
}

// format makes the file system in a few seconds whatever the size: the rest
// of the tables is written in the background while the node runs. Discarding
// a whole SD card first can take minutes, so that is left to fstrim.
func (m *machine) format(dev string) error {
	m.con.say("formatting the new data partition")
	out, code := runTool("/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-L", "data", "-m", "1",
		"-O", "metadata_csum,64bit", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", dev)
	if code != 0 {
		return fmt.Errorf("mke2fs ended with %d: %s", code, out)
	}
	return syncDevice(dev)
}

// syncDevice waits for stable storage: mke2fs closes the device, which alone
// promises nothing.
func syncDevice(dev string) error {
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// repair runs e2fsck as at every boot: it replays the journal after a power
// cut and mends what it can without loss. What it cannot stops the boot, unless
// a person allowed more (contract.RepairFile). Nothing is ever formatted here.
func (m *machine) repair(dev string) error {
	if err := m.checkExt4(dev); err != nil {
		return err
	}
	out, code := runTool("/usr/sbin/e2fsck", "-p", dev)
	switch verdictOf(code) {
	case fsClean:
		return nil
	case fsFixed:
		m.state.Repaired = true
		m.con.say("the data partition was repaired")
		return nil
	}
	err := fmt.Errorf("e2fsck -p ended with %d: %s", code, out)
	if !m.mayRepair() {
		return damagedData(m.disk.label, err)
	}
	m.con.say("repairing the data partition, as %s asks; this may take long", contract.RepairFile)
	out, code = runTool("/usr/sbin/e2fsck", "-f", "-y", dev)
	if verdictOf(code) == fsDamaged {
		return damagedData(m.disk.label, fmt.Errorf("e2fsck -y ended with %d: %s", code, out))
	}
	m.state.Repaired = true
	return nil
}

func (m *machine) checkExt4(dev string) error {
	f, err := os.Open(dev)
	if err != nil {
		return noData(m.disk.label, err)
	}
	defer f.Close()
	if _, err := readExt4(f); err != nil {
		return noData(m.disk.label, err)
	}
	return nil
}

// mayRepair looks for contract.RepairFile on the boot partition and removes it: one
// permission is for one attempt.
func (m *machine) mayRepair() bool {
	allowed, err := m.takeRepairFile("/run/boot")
	if err != nil {
		m.con.warn("look for %s on the boot partition: %v", contract.RepairFile, err)
	}
	return allowed
}

func (m *machine) takeRepairFile(dir string) (found bool, err error) {
	dev, err := m.disk.partition(contract.PartBoot)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	defer os.Remove(dir)
	mp, err := mount.Mount(dev, dir, "vfat", "", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	if err != nil {
		return false, err
	}
	for _, name := range []string{contract.RepairFile, contract.RepairFile + ".txt"} { // Windows hides .txt and adds it again
		err := os.Remove(filepath.Join(dir, name))
		if err == nil {
			found = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, errors.Join(err, mp.Unmount(0))
		}
	}
	return found, mp.Unmount(0)
}

// grow enlarges the mounted file system if the partition has more room, which
// is so when a card was cloned to a larger one. Growing online is journaled:
// a power cut is answered by asking again.
func (m *machine) grow(dev string) error {
	f, err := os.Open(dev)
	if err != nil {
		return diskTrouble(candidate{label: m.disk.label}, err)
	}
	defer f.Close()
	have, err := readExt4(f)
	if err != nil {
		return noData(m.disk.label, err)
	}
	room := int64(m.table.Entry(contract.PartData).Sectors) * m.table.SectorSize
	if room-have.bytes() < alignment {
		return nil
	}
	m.con.say("growing the data partition to %.1f GB", float64(room)/1e9)
	if out, code := runTool("/usr/sbin/resize2fs", dev); code != 0 {
		// The node works with the size it has; the next boot tries again.
		m.con.say("resize2fs ended with %d: %s", code, out)
	}
	return nil
}

// enterRoot gives the tools of the real root the kernel file systems they
// read. The returned function takes them away again.
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

// runTool runs a program of the real root inside it. It returns the end of
// what it printed, on one line, and the exit code, 128 where it did not run.
func runTool(name string, args ...string) (output string, code int) {
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: sysroot}
	b, err := cmd.CombinedOutput()
	text := strings.Join(strings.Fields(string(b)), " ")
	if len(text) > 400 {
		text = "… " + text[len(text)-400:]
	}
	if err != nil && cmd.ProcessState == nil {
		return err.Error(), 128
	}
	return text, cmd.ProcessState.ExitCode()
}

func writeState(s State) error {
	const name = "/" + contract.StateFile
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}
