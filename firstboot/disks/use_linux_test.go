package disks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

// TestARealDiskIsMadeANodesOwn: the kernel shows a partition for mke2fs of which the disk
// itself says nothing yet, and in the end others' programs find that very one.
func TestARealDiskIsMadeANodesOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("loop devices need root: run the tests as root")
	}
	file := blankFile(t, 64*mib)
	dev := strings.TrimSpace(judge(t, "losetup", "-P", "-f", "--show", file))
	t.Cleanup(func() { judge(t, "losetup", "-d", dev) })
	d := Disk{Name: filepath.Base(dev), Size: 64 * mib, Sector: 512}
	v := Volume{Disk: d}
	var err error
	if v.File, err = d.Open(); err != nil {
		t.Fatal(err)
	}
	formats := func(name string, args ...string) (string, int) {
		if _, err := ptable.Read(v, d.Size, 512); err == nil {
			t.Error("the disk has a table before it is formatted")
		}
		return host(name, args...)
	}
	if err := v.make(Want{Purpose: Data, Node: "cabin-pi"}, formats); err != nil {
		t.Fatal(err)
	}
	if fixed, err := Tools(host).Check(v.Dev, false); fixed || err != nil || v.Dev != dev+"p1" {
		t.Errorf("%s: %v, %v", v.Dev, fixed, err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	d.Table, err = ptable.Read(mustOpen(t, file), d.Size, 512)
	if c, lookErr := look(d, Data); err != nil || lookErr != nil || c.state != made || c.node != "cabin-pi" || c.id != v.ID {
		t.Errorf("%+v, %v, %v", c, err, lookErr)
	}
	judge(t, "sgdisk", "-v", file)
}

func mustOpen(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
