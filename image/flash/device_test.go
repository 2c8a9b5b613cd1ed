package flash

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/manifest"
	"github.com/going-mobile/imagebuilder/image/verify"
)

func TestCheckRefuses(t *testing.T) {
	card := Device{Path: "/dev/sdb", Model: "Generic SD", Size: 31_914_983_424, Bus: "usb", Removable: true, SectorSize: 512}
	tests := []struct {
		name  string
		edit  func(d *Device)
		size  int64
		force bool
		want  string // "" is allowed
	}{
		{"card", func(d *Device) {}, 1 << 30, false, ""},
		{"unknown size", func(d *Device) {}, -1, false, ""},
		{"exactly full", func(d *Device) {}, 31_914_983_424, false, ""},
		{"too small", func(d *Device) {}, 31_914_983_425, true, "/dev/sdb (Generic SD, 31.9 GB) is too small: the image has 31.9 GB, 1 bytes more"},
		{"partition", func(d *Device) { d.Path, d.Disk = "/dev/sdb1", "/dev/sdb" }, 1, true, "/dev/sdb1 is a partition; an image brings its own, so name the whole disk, /dev/sdb"},
		{"system", func(d *Device) { d.System, d.Mounts = true, []string{"/", "/boot"} }, 1, true, "is the disk this system runs from (/, /boot)"},
		{"mounted", func(d *Device) { d.Mounts = []string{"/media/my card"} }, 1, true, "is in use, mounted at /media/my card; unmount it first: " + unmount(runtime.GOOS, Device{Path: "/dev/sdb", Mounts: []string{"/media/my card"}})},
		{"held", func(d *Device) { d.Holders = []string{"/dev/md0"} }, 1, true, "is in use by /dev/md0"},
		{"empty slot", func(d *Device) { d.Size = 0 }, -1, true, "there is no card in /dev/sdb (Generic SD, 0 bytes): put it in"},
		{"read-only", func(d *Device) { d.ReadOnly = true }, 1, true, "is read-only"},
		{"4Kn", func(d *Device) { d.SectorSize = 4096 }, 1, true, "sectors of 4096 bytes"},
		{"built in", func(d *Device) { d.Removable = false }, 1, false, "is built in, not a card or USB disk"},
		{"built in, forced", func(d *Device) { d.Removable = false }, 1, true, ""},
	}
	for _, tt := range tests {
		d := card
		tt.edit(&d)
		err := d.Check(tt.size, tt.force)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestMacSync: a disk that does not know the order to flush, or a file, is left to fsync;
// any other fault of the flush is one of the writing.
func TestMacSync(t *testing.T) {
	for _, tt := range []struct {
		flush, fsync, want error
		asked              bool
	}{
		{nil, syscall.EIO, nil, false},
		{syscall.ENOTTY, nil, nil, true},
		{os.NewSyscallError("ioctl", syscall.ENOTSUP), nil, nil, true},
		{syscall.ENOTTY, syscall.EIO, syscall.EIO, true},
		{syscall.EIO, nil, syscall.EIO, false},
		{syscall.ENXIO, nil, syscall.ENXIO, false},
	} {
		asked := false
		err := macSync(func() error { return tt.flush }, func() error { asked = true; return tt.fsync })
		if err != tt.want || asked != tt.asked {
			t.Errorf("flush %v, fsync %v: %v, fsync was asked: %v", tt.flush, tt.fsync, err, asked)
		}
	}
}

// A card that holds the image and not its node would stop dark at the first start.
func TestACardHoldsItsNode(t *testing.T) {
	const mib, start = 1 << 20, 260 << 20
	least := int64(2*2048+512) * mib
	report := &verify.Report{Label: &contract.Label{SlotMiB: 2048}}
	beside := &verify.Report{Label: report.Label, Manifest: &manifest.Manifest{Partitions: []manifest.Partition{{Number: 1, Start: 4 * mib}, {Number: contract.PartRootA, Start: start}}}}
	for _, test := range []struct {
		name   string
		size   int64
		device bool
		report *verify.Report
		node   Node
		want   bool
	}{
		{"as large as is needed", least, true, report, Node{}, true},
		{"a little smaller", least - 1, true, report, Node{}, false},
		{"4 GB", 4e9, true, report, Node{}, false},
		{"behind the boot partition", least + start, true, beside, Node{}, true},
		{"behind the boot partition, a little smaller", least + start - 1, true, beside, Node{}, false},
		{"a stick, which stays as it is", 4e9, true, report, Node{Installs: true}, true},
		{"a file", 0, false, report, Node{}, true},
		{"an image that does not tell", 4e9, true, &verify.Report{Label: &contract.Label{}}, Node{}, true},
		{"a foreign image", 4e9, true, &verify.Report{}, Node{}, true},
	} {
		err := (&target{device: test.device, size: test.size, desc: "DISK"}).fitsNode(test.report, &test.node)
		if (err == nil) != test.want || err != nil && !strings.Contains(err.Error(), "DISK is too small: the image fits") {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

const macInfo = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
	<key>BusProtocol</key><string>BUS</string>
	<key>DeviceBlockSize</key><integer>512</integer>
	<key>Internal</key><INTERNAL/>
	<key>MediaName</key><string>Built In SDXC Reader </string>
	<key>RemovableMedia</key><REMOVABLE/>
	<key>Size</key><integer>31914983424</integer>
	<key>WritableMedia</key><true/>
</dict></plist>`

const macAll = `<plist version="1.0"><dict>
	<key>AllDisks</key><array><string>disk0</string></array>
	<key>AllDisksAndPartitions</key><array>
		<dict><key>DeviceIdentifier</key><string>disk0</string><key>Partitions</key><array>
			<dict><key>DeviceIdentifier</key><string>disk0s1</string><key>Content</key><string>EFI</string></dict></array></dict>
		<dict><key>APFSPhysicalStores</key><array><dict><key>DeviceIdentifier</key><string>disk0s2</string></dict></array>
			<key>APFSVolumes</key><array>
				<dict><key>DeviceIdentifier</key><string>disk3s1</string><key>MountedSnapshots</key><array>
					<dict><key>SnapshotMountPoint</key><string>/</string></dict></array></dict>
				<dict><key>MountPoint</key><string>/System/Volumes/Data</string></dict></array>
			<key>DeviceIdentifier</key><string>disk3</string></dict>
		<dict><key>DeviceIdentifier</key><string>disk4</string><key>Partitions</key><array>
			<dict><key>DeviceIdentifier</key><string>disk4s1</string>
				<key>Content</key><string>Windows_FAT_32</string><key>VolumeName</key><string>BOOT</string><key>Size</key><integer>268435456</integer><key>MountPoint</key><string>/Volumes/BOOT</string></dict></array></dict>
		<dict><key>DeviceIdentifier</key><string>disk5</string></dict>
	</array>
	<key>WholeDisks</key><array><string>disk0</string><string>disk4</string><string>disk5</string></array>
</dict></plist>`

func fakeDiskutil(args ...string) (any, error) {
	text := macAll
	if args[0] == "info" {
		r := strings.NewReplacer("BUS", "Secure Digital", "INTERNAL", "true", "REMOVABLE", "true")
		if args[2] == "disk0" {
			r = strings.NewReplacer("BUS", "Apple Fabric", "INTERNAL", "true", "REMOVABLE", "false")
		}
		text = r.Replace(macInfo)
	}
	return parsePlist(strings.NewReader(text))
}

func TestMacDevices(t *testing.T) {
	got, err := macDevices(fakeDiskutil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"is the disk this system runs from (/, /System/Volumes/Data)", "mounted at /Volumes/BOOT", ""}
	for i, d := range got {
		err := d.Check(1, false)
		if (err == nil) != (want[i] == "") || err != nil && !strings.Contains(err.Error(), want[i]) {
			t.Errorf("%s: %v, want %q", d, err, want[i])
		}
	}
	if s := got[2].String(); s != "/dev/disk5 (Built In SDXC Reader, 31.9 GB)" || got[2].Bus != "sd" {
		t.Error(s, got[2].Bus)
	}
	if c := got[1].Contents; len(c) != 1 || c[0] != `Windows_FAT_32 "BOOT" 268.4 MB` {
		t.Errorf("on the card is %q", c)
	}
	if d, err := macDevice(fakeDiskutil, "disk4s1"); err != nil || d.Disk != "/dev/disk4" {
		t.Error(d, err)
	}
	if _, err := macDevice(fakeDiskutil, "null"); err == nil {
		t.Error("/dev/null is a disk")
	}
}

func FuzzPlist(f *testing.F) {
	f.Add(macInfo)
	f.Add(macAll)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parsePlist(strings.NewReader(s))
		if err != nil {
			return
		}
		macDevices(func(...string) (any, error) { return v, nil })
	})
}
