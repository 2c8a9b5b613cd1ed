package disks

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree makes a sysfs of attributes, by their paths below devices, and a link
// for the disk, whose directory is the one that has "dev".
func tree(t *testing.T, attrs map[string]string) (sysfs, string) {
	t.Helper()
	root, name := t.TempDir(), ""
	for path, text := range attrs {
		file := filepath.Join(root, "devices", path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) != "dev" {
			continue
		}
		dir := filepath.Dir(file)
		name = filepath.Base(dir)
		link(t, dir, filepath.Join(root, "block", name))
		if strings.Contains(dir, "/block/") { // SCSI and MMC
			link(t, filepath.Dir(filepath.Dir(dir)), filepath.Join(dir, "device"))
		}
	}
	return sysfs(root), name
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

// identify is page 89h with an answer to IDENTIFY DEVICE in it.
func identify(model, serial string, wwn uint64) string {
	page := make([]byte, 572)
	page[1] = 0x89
	id := page[60:]
	put := func(word, length int, text string) {
		padded := []byte(text + strings.Repeat(" ", length-len(text)))
		for i := 0; i < length; i += 2 {
			id[2*word+i], id[2*word+i+1] = padded[i+1], padded[i]
		}
	}
	put(10, 20, serial)
	put(27, 40, model)
	for i := range 4 {
		binary.LittleEndian.PutUint16(id[2*(108+i):], uint16(wwn>>(16*(3-i))))
	}
	return string(page)
}

// page83 is page 83h with designators: code set, kind, identifier.
func page83(designators ...[3]string) string {
	var body string
	for _, d := range designators {
		body += d[0] + d[1] + "\x00" + string(rune(len(d[2]))) + d[2]
	}
	return "\x00\x83\x00" + string(rune(len(body))) + body
}

// The names are those that udev gave to such disks: seen on machines, or in
// QEMU beside the running system's own /dev/disk/by-id (image/e2e).
func TestDisksAreNamedAsUdevNamesThem(t *testing.T) {
	const (
		sata = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/"
		scsi = "pci0000:00/0000:00:05.0/virtio2/host2/target2:0:0/2:0:0:0/"
		port = "pci0000:00/0000:00:14.0/usb2/2-1/"
		usb  = port + "2-1:1.0/host6/target6:0:0/6:0:0:0/"
	)
	naa := "\x60\x02\x20\x20\x30\x14\x01\x12\x34\x56\x78\x9a\xbc\xde\xf0\x11"
	for _, test := range []struct {
		what        string
		attrs       map[string]string
		ids, models []string
	}{
		{"NVMe", map[string]string{
			"pci0000:00/0000:01:00.0/nvme/nvme0/model":             "Samsung SSD 980 PRO 1TB                 \n",
			"pci0000:00/0000:01:00.0/nvme/nvme0/serial":            "S5GXNX0T123456A     \n",
			"pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/dev":       "259:0\n",
			"pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/nsid":      "1\n",
			"pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/wwid":      "eui.002538ba11234567\n",
			"pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/removable": "0\n",
		}, []string{"nvme-Samsung_SSD_980_PRO_1TB_S5GXNX0T123456A", "nvme-Samsung_SSD_980_PRO_1TB_S5GXNX0T123456A_1", "nvme-eui.002538ba11234567"}, []string{"Samsung SSD 980 PRO 1TB"}},
		{"virtio", map[string]string{
			"pci0000:00/0000:00:03.0/virtio1/block/vda/dev":    "254:0\n",
			"pci0000:00/0000:00:03.0/virtio1/block/vda/serial": "data-1",
			"pci0000:00/0000:00:03.0/virtio1/vendor":           "0x1af4\n",
		}, []string{"virtio-data-1"}, nil},
		{"virtio without a serial number", map[string]string{
			"pci0000:00/0000:00:03.0/virtio1/block/vdb/dev":    "254:16\n",
			"pci0000:00/0000:00:03.0/virtio1/block/vdb/serial": "",
		}, nil, nil},
		{"memory card", map[string]string{
			"platform/emmc2bus/fe340000.mmc/mmc_host/mmc1/mmc1:aaaa/name":              "SD32G\n",
			"platform/emmc2bus/fe340000.mmc/mmc_host/mmc1/mmc1:aaaa/serial":            "0x1234abcd\n",
			"platform/emmc2bus/fe340000.mmc/mmc_host/mmc1/mmc1:aaaa/block/mmcblk1/dev": "179:0\n",
		}, []string{"mmc-SD32G_0x1234abcd"}, []string{"SD32G"}},
		{"SATA", map[string]string{
			sata + "vendor": "ATA     \n", sata + "model": "Samsung SSD 870 \n", sata + "block/sda/dev": "8:0\n",
			sata + "vpd_pg89": identify("Samsung SSD 870 EVO 500GB", "S6PYNX0R  123", 0x5002538f42a1b2c3),
		}, []string{"ata-Samsung_SSD_870_EVO_500GB_S6PYNX0R_123", "wwn-0x5002538f42a1b2c3"}, []string{"Samsung SSD 870 EVO 500GB"}},
		{"SATA without a WWN", map[string]string{
			sata + "vendor": "ATA     \n", sata + "model": "QEMU HARDDISK   \n", sata + "block/sda/dev": "8:0\n",
			sata + "vpd_pg89": identify("QEMU HARDDISK", "QM00001", 0),
		}, []string{"ata-QEMU_HARDDISK_QM00001"}, []string{"QEMU HARDDISK"}},
		{"USB stick", map[string]string{
			port + "idVendor": "0781\n", port + "idProduct": "5581\n", port + "serial": "4C530001230510\n",
			port + "2-1:1.0/bInterfaceClass": "08\n", port + "2-1:1.0/bInterfaceSubClass": "06\n",
			usb + "vendor": "SanDisk \n", usb + "model": "Ultra           \n", usb + "block/sdb/dev": "8:16\n", usb + "block/sdb/removable": "1\n",
		}, []string{"usb-SanDisk_Ultra_4C530001230510-0:0"}, []string{"Ultra", "SanDisk Ultra"}},
		{"USB that speaks no SCSI, with a serial number that is none", map[string]string{
			port + "idVendor": "0781\n", port + "idProduct": "5581\n", port + "manufacturer": "Some  Maker\n", port + "serial": "a,b\n",
			port + "2-1:1.0/bInterfaceClass": "08\n", port + "2-1:1.0/bInterfaceSubClass": "05\n",
			usb + "vendor": "SanDisk \n", usb + "model": "Ultra           \n", usb + "block/sdb/dev": "8:16\n", usb + "block/sdb/removable": "1\n",
		}, []string{"usb-Some_Maker_5581"}, []string{"Ultra", "SanDisk Ultra"}},
		{"USB bridge that shows its disk", map[string]string{
			port + "idVendor": "152d\n", port + "idProduct": "0578\n", port + "serial": "0123456789ABCDEF\n",
			port + "2-1:1.0/bInterfaceClass": "08\n", port + "2-1:1.0/bInterfaceSubClass": "06\n",
			usb + "vendor": "JMicron \n", usb + "model": "Generic         \n", usb + "block/sdb/dev": "8:16\n", usb + "block/sdb/removable": "0\n",
			usb + "vpd_pg89": identify("CT500MX500SSD1", "1912E1F0C0FE", 0x500a0751e1f0c0fe),
		}, []string{"ata-CT500MX500SSD1_1912E1F0C0FE", "wwn-0x500a0751e1f0c0fe", "usb-JMicron_Generic_0123456789ABCDEF-0:0"}, []string{"CT500MX500SSD1"}},
		{"SCSI of a hypervisor", map[string]string{
			scsi + "vendor": "QEMU    \n", scsi + "model": "QEMU HARDDISK   \n", scsi + "block/sdc/dev": "8:32\n",
			scsi + "vpd_pg83": page83([3]string{"\x02", "\x00", "drive-scsi0"}),
		}, []string{"scsi-0QEMU_QEMU_HARDDISK_drive-scsi0"}, []string{"QEMU HARDDISK", "QEMU QEMU HARDDISK"}},
		{"SCSI with an NAA name, which comes first", map[string]string{
			scsi + "vendor": "LIO-ORG \n", scsi + "model": "disk            \n", scsi + "block/sdc/dev": "8:32\n",
			scsi + "vpd_pg83": page83([3]string{"\x02", "\x01", "LIO-ORG disk"}, [3]string{"\x01", "\x13", "\x50\x00\x00\x00\x00\x00\x00\x01"}, [3]string{"\x01", "\x03", naa}),
		}, []string{"scsi-360022020301401123456789abcdef011", "wwn-0x60022020301401123456789abcdef011"}, []string{"disk", "LIO-ORG disk"}},
		{"SCSI with a serial number only", map[string]string{
			scsi + "vendor": "QEMU    \n", scsi + "model": "QEMU HARDDISK   \n", scsi + "block/sdc/dev": "8:32\n",
			scsi + "vpd_pg80": "\x00\x80\x00\x06serial",
		}, []string{"scsi-SQEMU_QEMU_HARDDISK_serial"}, []string{"QEMU HARDDISK", "QEMU QEMU HARDDISK"}},
		{"nothing that is known", map[string]string{"pci0000:00/xen/block/xvda/dev": "202:0\n"}, nil, nil},
	} {
		t.Run(test.what, func(t *testing.T) {
			root, name := tree(t, test.attrs)
			ids, models := root.names(name)
			if diff := cmp.Diff(test.ids, ids); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.models, models); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzDesignators(f *testing.F) {
	f.Add([]byte(page83([3]string{"\x01", "\x03", "\x50\x00\x00\x00\x00\x00\x00\x01"})))
	f.Fuzz(func(t *testing.T, page []byte) { designated(page, "somebody") })
}

// Longhorn's volumes look like blank disks until something is written to them.
func TestWhatIsNoDiskOfTheMachine(t *testing.T) {
	for name, path := range map[string]string{
		"sdc": "/sys/devices/platform/host3/session1/target3:0:0/3:0:0:0/block/sdc", "loop0": "/sys/devices/virtual/block/loop0",
		"dm-0": "/sys/devices/virtual/block/dm-0", "nbd0": "/sys/devices/virtual/block/nbd0", "sr0": "/sys/devices/pci0000:00/ata1/block/sr0",
		"mmcblk0boot0": "/sys/devices/platform/mmc_host/mmc0/mmc0:0001/block/mmcblk0/mmcblk0boot0", "zram0": "/sys/devices/virtual/block/zram0",
	} {
		if !isVirtual(name, path) {
			t.Errorf("%s is taken for a disk", name)
		}
	}
	for name, path := range map[string]string{
		"sda": "/sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda", "mmcblk0": "/sys/devices/platform/mmc_host/mmc0/mmc0:0001/block/mmcblk0",
		"nvme0n1": "/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "vda": "/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda",
	} {
		if isVirtual(name, path) {
			t.Errorf("%s is taken for no disk", name)
		}
	}
}
