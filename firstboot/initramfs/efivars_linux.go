package initramfs

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
)

const efivarsDir = "/" + efiboot.Variables

var errNoUEFI = errors.New("the firmware is no UEFI: it cannot be told what to start")

// startNext makes the firmware start one of our disks next, and from then on.
func startNext(d disks.Disk, name string) error {
	if _, err := os.Stat(filepath.Dir(efivarsDir)); err != nil {
		return errNoUEFI
	}
	mp, err := mount.Mount("efivarfs", efivarsDir, "efivarfs", "", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	if err != nil {
		return err
	}
	boot := d.Table.Entry(contract.PartBoot)
	err = efiboot.Start(efivars{}, efiboot.Loader{
		Title: "imagebuilder " + name, Partition: boot.Number, GUID: boot.ID, First: boot.First, Sectors: boot.Sectors,
		File: efiFile(runtime.GOARCH),
	})
	return errors.Join(err, mp.Unmount(unix.MNT_DETACH))
}

// efiFile returns the path of the boot loader in the firmware's notation.
func efiFile(arch string) string { return `\` + strings.ReplaceAll(loaderFile(arch), "/", `\`) }

// efivars are the global variables as efivarfs shows them: four bytes of attributes, then the
// content. Boot variables need no clearing of the immutable flag first (the kernel's list of
// removable variables, fs/efivarfs/vars.c).
type efivars struct{}

func (efivars) file(name string) string { return "/" + efiboot.Variable(name) }

func (efivars) Names() (names []string, err error) {
	entries, err := os.ReadDir(efivarsDir)
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), "-"+efiboot.Global); ok {
			names = append(names, name)
		}
	}
	return names, err
}

func (v efivars) Read(name string) ([]byte, error) {
	data, err := os.ReadFile(v.file(name))
	if err != nil {
		return nil, err
	}
	return data[min(4, len(data)):], nil
}

// Write uses a single write call: the kernel takes each call for a whole variable.
func (v efivars) Write(name string, data []byte) error {
	const nonVolatile, bootService, runtime = 1, 2, 4
	f, err := os.OpenFile(v.file(name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(binary.LittleEndian.AppendUint32(nil, nonVolatile|bootService|runtime), data...))
	return errors.Join(err, f.Close())
}
