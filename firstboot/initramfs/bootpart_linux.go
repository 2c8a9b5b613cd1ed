package initramfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// onBoot calls do while the boot partition is mounted.
func (m *machine) onBoot(flags uintptr, do func(dir string) error) error {
	dev, err := m.disk.Partition(contract.PartBoot)
	if err != nil {
		return err
	}
	return onPartition(dev, flags, do)
}

func onPartition(dev string, flags uintptr, do func(dir string) error) error {
	const dir = "/run/boot"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer os.Remove(dir)
	mp, err := mount.Mount(dev, dir, "vfat", "", flags|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	if err != nil {
		return err
	}
	return errors.Join(do(dir), mp.Unmount(0))
}

// nodeConfig returns node.yaml, or an empty configuration if the file is missing or invalid:
// firstboot has better means to say what is wrong with it.
func (m *machine) nodeConfig() *node.Config {
	cfg := &node.Config{}
	err := m.onBoot(unix.MS_RDONLY, func(dir string) error {
		data, err := os.ReadFile(filepath.Join(dir, node.FileName))
		if err == nil {
			cfg, err = node.Load(node.FileName, data)
		}
		return err
	})
	if err != nil {
		m.con.log("init: " + err.Error())
		return &node.Config{}
	}
	return cfg
}

// mayRepair looks for RepairFile on the boot partition and removes it: one permission is good for
// one attempt.
func (m *machine) mayRepair() (allowed bool) {
	err := m.onBoot(0, func(dir string) error {
		for _, name := range []string{contract.RepairFile, contract.RepairFile + ".txt"} { // Windows hides .txt and adds it again
			err := os.Remove(filepath.Join(dir, name))
			if err == nil {
				allowed = true
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		m.con.warn("look for %s on the boot partition: %v", contract.RepairFile, err)
	}
	return allowed && err == nil
}

// tell shows a page on every console, and writes it where a laptop can read it: over the bytes of
// STATUS.TXT, which every image has. It does not write to a disk that may not be ours.
func (m *machine) tell(t *Trouble, then string) {
	page := t.page(m.build, then)
	m.con.page(page)
	m.status(page)
}

// status writes a text into STATUS.TXT.
func (m *machine) status(page string) {
	if !m.ours {
		return
	}
	err := m.onBoot(unix.MS_SYNCHRONOUS, func(dir string) error {
		f, err := os.OpenFile(filepath.Join(dir, node.StatusFile), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(node.PadStatus([]byte(strings.ReplaceAll(page, "\n", "\r\n"))))
		return errors.Join(err, f.Sync(), f.Close())
	})
	if err != nil {
		m.con.log("init: " + err.Error())
	}
}
