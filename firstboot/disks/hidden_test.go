package disks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// pci is a /sys whose PCI devices have these contents of remapped_nvme, ""
// for none.
func pci(t *testing.T, devices map[string]string) string {
	t.Helper()
	sys := t.TempDir()
	bus := filepath.Join(sys, "bus/pci/devices")
	for name, count := range devices {
		home := filepath.Join(sys, "devices/pci0000:00", name)
		for _, dir := range []string{bus, home} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("../../../devices/pci0000:00/"+name, filepath.Join(bus, name)); err != nil {
			t.Fatal(err)
		}
		if count == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(home, "remapped_nvme"), []byte(count), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

func TestDisksBehindRAIDAreCounted(t *testing.T) {
	for want, devices := range map[int]map[string]string{
		0: {"0000:00:17.0": "0\n", "0000:00:1f.6": ""},
		1: {"0000:00:17.0": "1\n", "0000:00:1f.6": "", "0000:00:14.0": "what?\n"},
		3: {"0000:00:17.0": "2\n", "0000:00:18.0": "1\n"},
	} {
		if n := Hidden(os.DirFS(pci(t, devices))); n != want {
			t.Errorf("%v: %d, want %d", devices, n, want)
		}
	}
	if n := Hidden(os.DirFS(t.TempDir())); n != 0 {
		t.Errorf("%d without PCI", n)
	}
}

// TestAHiddenDiskIsNotACable: who is told to check cables of a disk that the
// BIOS hides looks for them for ever.
func TestAHiddenDiskIsNotACable(t *testing.T) {
	for _, w := range []Want{{Spec: node.Disk{Model: "SSD"}}, {Known: idA}} {
		w.Purpose = Data
		_, err := choose(nil, w, nil)
		plain, ok := err.(*Fault)
		if !ok || strings.Contains(plain.What+plain.Do, "RAID") {
			t.Fatalf("nothing is hidden: %+v", err)
		}
		w.Hidden = 2
		_, err = choose(nil, w, nil)
		f, ok := err.(*Fault)
		if !ok || f.Code != plain.Code || !strings.Contains(f.What, "hides 2 NVMe disks behind its RAID setting") ||
			!strings.HasPrefix(f.Do, "Switch it off and on, press F2") || !strings.Contains(f.Do, "AHCI") || !strings.Contains(f.Do, plain.Do) {
			t.Errorf("%+v", err)
		}
	}
	_, err := choose([]Disk{ssd("sda", "1"), ssd("sdb", "2")}, Want{Purpose: Data, Spec: node.Disk{Model: "SSD"}, Hidden: 1}, nil)
	if f, ok := err.(*Fault); !ok || strings.Contains(f.Do, "AHCI") {
		t.Errorf("two that fit have nothing to do with it: %+v", err)
	}
}
