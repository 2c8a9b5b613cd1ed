package flash

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeHost builds a sysfs of devices with their attributes.
func fakeHost(t *testing.T, attributes map[string]string, mountinfo, swaps string) host {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		name = filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(name), 0o755)
		if err := os.Symlink(filepath.Join(dir, target), name); err != nil {
			t.Fatal(err)
		}
	}
	for dev, text := range attributes {
		name := filepath.Base(dev)
		put("dev/"+name, "")
		for _, a := range strings.Fields(text) {
			key, value, _ := strings.Cut(a, "=")
			put("sys/devices/"+dev+"/"+key, strings.ReplaceAll(value, "_", " "))
		}
		link("sys/devices/"+dev, "sys/class/block/"+name)
		if !strings.Contains(text, "partition=") {
			link("sys/devices/"+dev, "sys/block/"+name)
		}
	}
	put("mountinfo", mountinfo)
	put("swaps", swaps)
	put("udev/b8:17", "S:disk/by-label/MY CARD\nE:ID_FS_TYPE=vfat\nE:ID_FS_LABEL=MY CARD")
	put("udev/b8:32", "E:ID_FS_TYPE=exfat")
	link("dev/dm-0", "dev/mapper/crypt-root")
	return host{filepath.Join(dir, "sys"), filepath.Join(dir, "mountinfo"), filepath.Join(dir, "swaps"), filepath.Join(dir, "dev"), filepath.Join(dir, "udev")}
}

func TestLinuxDevices(t *testing.T) {
	const sd = "size=62333952 ro=0 removable=0 queue/logical_block_size=512 "
	h := fakeHost(t, map[string]string{
		// The system: root on dm-crypt on a SATA disk, swap on another partition.
		"pci0/ata1/host0/block/sda":      sd + "dev=8:0 device/vendor=ATA device/model=Samsung_SSD",
		"pci0/ata1/host0/block/sda/sda1": "size=1 dev=8:1 partition=1 holders/dm-0=x",
		"pci0/ata1/host0/block/sda/sda2": "size=1 dev=8:2 partition=2",
		"virtual/block/dm-0":             "size=1 dev=253:0",
		// A card reader on USB: one slot mounted, one free, one empty.
		"pci0/usb1/1-1/block/sdb":      sd + "dev=8:16 removable=1 device/vendor=Generic device/model=MassStorageClass",
		"pci0/usb1/1-1/block/sdb/sdb1": "size=1 dev=8:17 partition=1",
		"pci0/usb1/1-2/block/sdc":      sd + "dev=8:32 removable=1",
		"pci0/usb1/1-3/block/sdd":      "size=0 dev=8:48 removable=1",
		// NVMe with btrfs, whose mounts have a number of their own; and another in a RAID.
		"pci0/nvme/nvme0/nvme0n1":           sd + "dev=259:0 device/model=WD_Black",
		"pci0/nvme/nvme0/nvme0n1/nvme0n1p2": "size=1 dev=259:2 partition=2",
		"pci0/nvme/nvme1/nvme1n1":           sd + "dev=259:4 holders/md0=x ro=1",
		"virtual/block/md0":                 "size=1 dev=9:0",
		// A built-in slot, and soldered eMMC with its boot area.
		"platform/mmc_host/mmc0/mmc0:1/block/mmcblk0":              sd + "dev=179:0 device/type=SD device/name=SC32G",
		"platform/mmc_host/mmc1/mmc1:1/block/mmcblk1":              sd + "dev=179:8 device/type=MMC device/name=BJTD4R",
		"platform/mmc_host/mmc1/mmc1:1/block/mmcblk1/mmcblk1boot0": sd + "dev=179:16",
		"virtual/block/loop0":                                      sd + "dev=7:0",
		"virtual/block/zram0":                                      sd + "dev=252:0",
	}, `22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/crypt-root rw
23 22 8:17 / /media/user/MY\040CARD rw - vfat /dev/sdb1 rw
24 22 0:33 /@home /srv rw - btrfs /dev/nvme0n1p2 rw
garbage
25 22 0:5 / /proc rw - proc proc rw`,
		"Filename\t\t\tType\t\tSize\n/dev/sda2 partition 100 0 -2")
	list, err := h.devices()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range list {
		why := "ok"
		if err := d.Check(1, false); err != nil {
			why = err.Error()
		}
		got = append(got, strings.ReplaceAll(fmt.Sprintf("%s: %s", d.Bus, why), h.dev, "/dev"))
	}
	want := []string{
		"sd: ok",
		"mmc: /dev/mmcblk1 (BJTD4R, 31.9 GB) is built in, not a card or USB disk; if it is the right one, use force",
		"nvme: /dev/nvme0n1 (WD Black, 31.9 GB) is in use, mounted at /srv; unmount it first: umount /srv",
		"nvme: /dev/nvme1n1 (31.9 GB) is in use by /dev/md0; stop that first",
		"ata: /dev/sda (Samsung SSD, 31.9 GB) is the disk this system runs from (/, [SWAP])",
		"usb: /dev/sdb (Generic MassStorageClass, 31.9 GB) is in use, mounted at /media/user/MY CARD; unmount it first: umount '/media/user/MY CARD'",
		"usb: ok",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := list[5].Contents; len(got) != 1 || got[0] != `vfat "MY CARD" 512 bytes` {
		t.Errorf("on the card is %q", got)
	}
	if got := list[6].Contents; len(got) != 1 || got[0] != "exfat 31.9 GB" {
		t.Errorf("on the card is %q", got)
	}
	if d, err := h.device("sdb1"); err != nil || filepath.Base(d.Disk) != "sdb" || len(d.Mounts) != 1 {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestThisHostsSystemDisk asks the real kernel: the disk of / must be refused.
func TestThisHostsSystemDisk(t *testing.T) {
	list, err := Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		t.Logf("%+v: %v", d, d.Check(1, true))
		if d.System && d.Check(1, true) == nil {
			t.Errorf("%s would be overwritten", d)
		}
	}
}

// TestAnotherDiskAtThePath is told from the one that was agreed to, by whatever differs.
// What only one of two look-ups knows, as udev is slow, is no difference.
func TestAnotherDiskAtThePath(t *testing.T) {
	const dir, card = "pci0/usb1/1-2/block/sdb", "size=62333952 dev=8:16 removable=1 queue/logical_block_size=512 device/model=Ultra "
	h := fakeHost(t, map[string]string{dir: card + "diskseq=7 serial=A1"}, "", "")
	agreed, err := h.device("sdb")
	if err != nil || agreed.Serial != "A1" || agreed.Sequence != 7 {
		t.Fatalf("%+v, %v", agreed, err)
	}
	for now, same := range map[string]bool{
		card + "diskseq=7 serial=A1": true,
		card + "diskseq=7":           true,
		card + "serial=A1":           true,
		card + "diskseq=8 serial=A1": false,
		card + "diskseq=7 serial=B2": false,
		"size=62333953 dev=8:16 removable=1 queue/logical_block_size=512 device/model=Ultra":  false,
		"size=62333952 dev=8:16 removable=1 queue/logical_block_size=512 device/model=Backup": false,
	} {
		d, err := fakeHost(t, map[string]string{dir: now}, "", "").device("sdb")
		if err != nil {
			t.Fatal(err)
		}
		d.Path = agreed.Path // which is below the test's directory
		if err := d.isStill(agreed); (err == nil) != same || err != nil && !strings.Contains(err.Error(), "is not the disk that you agreed to") {
			t.Errorf("%s: %v", now, err)
		}
	}
}
