package initramfs

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/disks/cutdisk"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/installer"
)

// loop makes a file filled with one byte value a block device of the kernel.
func loop(t *testing.T, size int64, fill byte) (d disks.Disk, file string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loop devices need root: run the tests as root")
	}
	file = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, bytes.Repeat([]byte{fill}, int(size)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/usr/sbin/losetup", "-P", "-f", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v\n%s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { judge(t, "", "losetup", "-d", dev) })
	return disks.Disk{Name: filepath.Base(dev), Size: size, Sector: 512}, file
}

// TestARealDiskIsInstalledOn: on a disk full of other bytes, with the writes that the kernel lets
// through, other programs find a good GPT, and the partitions are the stick's, with other IDs. A
// disk that is in use is left alone.
func TestARealDiskIsInstalledOn(t *testing.T) {
	d, file := loop(t, 64*mib, 0xa5)
	stick := flashed(t, contract.GPT)
	if _, err := stick.WriteAt(bytes.Repeat([]byte("system  "), 64*1000), 40960*512); err != nil {
		t.Fatal(err)
	}
	table, err := ptable.Read(stick, stick.Size, 512)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := installer.New(table, d.Size, []byte("order"), "S1")
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.OpenUnused()
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Run(stick, f, disks.UnfinishedSystem("cabin-box"), func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if out := judge(t, "", "sgdisk", "--verify", file); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	if out := judge(t, "", "sgdisk", "-p", file); !strings.Contains(strings.ToLower(out), plan.Table.ID) {
		t.Errorf("the disk's ID is not %s:\n%s", plan.Table.ID, out)
	}
	sameParts(t, file, stick, plan.Table)

	hold, err := os.OpenFile("/dev/"+d.Name, os.O_RDONLY|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	if f, err := d.OpenUnused(); err == nil || !strings.Contains(err.Error(), "is in use") {
		f.Close()
		t.Errorf("a disk that is in use is opened: %v", err)
	}
}

func sameParts(t *testing.T, file string, stick *cutdisk.Disk, table *ptable.Table) {
	t.Helper()
	disk, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	for _, e := range table.Entries {
		a, b := make([]byte, e.Sectors*512), make([]byte, e.Sectors*512)
		_, errA := stick.ReadAt(a, int64(e.First)*512)
		_, errB := io.ReadFull(io.NewSectionReader(disk, int64(e.First)*512, int64(len(b))), b)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("partition %d differs: %v %v", e.Number, errA, errB)
		}
	}
}
