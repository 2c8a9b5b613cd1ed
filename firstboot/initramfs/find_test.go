package initramfs

import (
	"errors"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
)

const (
	guidA = "11111111-2222-3333-4444-555555555555"
	espA  = "aaaaaaaa-0000-4000-8000-000000000001"
	espB  = "bbbbbbbb-0000-4000-8000-000000000001"
)

// gptDisk is a disk with the table of an image; done tells whether its data
// was formatted.
func gptDisk(name, id, esp, path string, done bool) disks.Disk {
	t := &ptable.Table{Scheme: contract.GPT, ID: id, SectorSize: 512, Sectors: 8 << 21, Entries: []ptable.Entry{
		{Number: 1, Type: contract.TypeESP, ID: esp, Name: "boot", First: 8192, Sectors: 8192},
		{Number: 2, Type: contract.TypeRootAMD64, Name: "root-a", First: 16384, Sectors: 8192},
	}}
	if done {
		t.Put(ptable.Entry{Number: 3, Type: contract.TypeRootAMD64, Name: "root-b", First: 24576, Sectors: 8192})
		t.Put(ptable.Entry{Number: 4, Type: contract.TypeVar, Name: "data", First: 32768, Sectors: 8192})
	}
	return disks.Disk{Name: name, Label: name, Path: path, Table: t}
}

// moved is a disk of a node whose data is on another one.
func moved(d disks.Disk) disks.Disk {
	d.Table.Entry(4).Type = contract.TypeElsewhere
	return d
}

func foreign(name string) disks.Disk {
	return disks.Disk{Name: name, Label: name, Table: &ptable.Table{Scheme: contract.MBR, ID: "12345678", SectorSize: 512, Sectors: 1 << 20,
		Entries: []ptable.Entry{{Number: 1, Type: "07", First: 2048, Sectors: 4096}}}}
}

func TestChoose(t *testing.T) {
	const (
		nvme = "/sys/devices/pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1"
		usb  = "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0/block/sda"
		mmc  = "/sys/devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc1/mmc1:aaaa/block/mmcblk1"
	)
	changed := gptDisk("sda", guidA, espA, usb, false)
	changed.Table.Entry(2).Type = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
	broken := gptDisk("sda", guidA, espA, usb, false)
	broken.Err = errors.New("damaged")
	tests := []struct {
		name string
		all  []disks.Disk
		esp  string
		opt  contract.Args
		want string // the disk, or the beginning of the error
	}{
		{"none", nil, espA, contract.Args{DiskID: guidA}, errNoDisk.Error()},
		{"foreign only", []disks.Disk{foreign("sda")}, espA, contract.Args{DiskID: guidA}, errNoDisk.Error()},
		{"by ESP", []disks.Disk{foreign("sda"), gptDisk("sdb", guidA, espA, usb, false)}, strings.ToUpper(espA), contract.Args{}, "sdb"},
		{"ESP before ID", []disks.Disk{gptDisk("sda", guidA, espB, usb, true), gptDisk("sdb", "other", espA, usb, false)}, espA, contract.Args{DiskID: guidA}, "sdb"},
		{"by ID without loader", []disks.Disk{foreign("sda"), gptDisk("sdb", guidA, espA, usb, false)}, "", contract.Args{DiskID: guidA}, "sdb"},
		{"by ID under another loader", []disks.Disk{gptDisk("sdb", guidA, espA, usb, false)}, espB, contract.Args{DiskID: guidA}, "sdb"},
		{"no ID, no loader", []disks.Disk{gptDisk("sdb", "", espA, usb, false)}, "", contract.Args{}, errNoDisk.Error()},
		{"card and stick, from card", []disks.Disk{gptDisk("mmcblk1", guidA, espA, mmc, false), gptDisk("sda", guidA, espA, usb, true)}, "", contract.Args{DiskID: guidA, BootDevice: "mmc"}, "mmcblk1"},
		{"card and stick, from stick", []disks.Disk{gptDisk("mmcblk1", guidA, espA, mmc, true), gptDisk("sda", guidA, espA, usb, false)}, "", contract.Args{DiskID: guidA, BootDevice: "usb"}, "sda"},
		{"finished wins over fresh", []disks.Disk{gptDisk("nvme0n1", guidA, espA, nvme, true), gptDisk("sda", guidA, espA, usb, false)}, espA, contract.Args{}, "nvme0n1"},
		{"one whose data is elsewhere wins over fresh", []disks.Disk{moved(gptDisk("sda", guidA, espA, usb, true)), gptDisk("nvme0n1", guidA, espA, nvme, false)}, espA, contract.Args{}, "sda"},
		{"two fresh ones", []disks.Disk{gptDisk("nvme0n1", guidA, espA, nvme, false), gptDisk("sda", guidA, espA, usb, false)}, espA, contract.Args{}, "2 disks carry the same system"},
		{"partitions changed by another program", []disks.Disk{changed}, espA, contract.Args{}, errNotOurs.Error()},
		{"table damaged", []disks.Disk{broken}, espA, contract.Args{}, "damaged"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := choose(test.all, test.esp, test.opt, efiboot.Unknown, false)
			got := c.Name
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A card that is there at once must not win over the stick that the kernel
// came from, which USB shows seconds later.
func TestChooseWaitsForTheBus(t *testing.T) {
	card := []disks.Disk{gptDisk("mmcblk1", guidA, espA, "/sys/devices/x/mmc_host/mmc1/block/mmcblk1", false)}
	o := contract.Args{DiskID: guidA, BootDevice: "usb"}
	if c, err := choose(card, "", o, efiboot.USB, true); err != errNoDisk {
		t.Errorf("early: %s %v", c.Name, err)
	}
	if c, err := choose(card, "", o, efiboot.USB, false); err != nil || c.Name != "mmcblk1" {
		t.Errorf("late: %s %v", c.Name, err)
	}
}

func TestArrangeRefuses(t *testing.T) {
	ids := testIDs()
	small := gptDisk("sda", guidA, espA, "", false).Table
	small.Sectors = 1 << 20 // 512 MiB
	if _, err := arrange(small, 16*mib, ids); !errors.Is(err, errTooSmall) {
		t.Errorf("small disk: %v", err)
	}
	if _, err := arrange(gptDisk("sda", guidA, espA, "", false).Table, 8<<30, ids); !errors.Is(err, errTooSmall) {
		t.Errorf("large slots: %v", err)
	}
	for what, change := range map[string]func(t *ptable.Table){
		"foreign":              func(t *ptable.Table) { *t = *foreign("x").Table },
		"no root-a":            func(t *ptable.Table) { t.Entries = t.Entries[:1] },
		"root-a renamed":       func(t *ptable.Table) { t.Entry(2).Name = "Windows" },
		"data of another type": func(t *ptable.Table) { t.Entry(4).Type = contract.TypeESP },
		"root-b of another":    func(t *ptable.Table) { t.Entry(3).Type = contract.TypeESP },
		"root-b deleted":       func(t *ptable.Table) { t.Entries = append(t.Entries[:2], t.Entries[3]) },
		"root-a before boot":   func(t *ptable.Table) { t.Entry(2).First = 2048 },
	} {
		table := gptDisk("sda", guidA, espA, "", true).Table
		change(table)
		if _, err := arrange(table, 16*mib, ids); !errors.Is(err, errNotOurs) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Somebody's own partition behind ours stays, and data ends before it.
func TestArrangeKeepsStrangers(t *testing.T) {
	table := gptDisk("sda", guidA, espA, "", false).Table
	table.Put(ptable.Entry{Number: 9, Type: contract.TypeVar, First: 2 << 21, Sectors: 1 << 21})
	want, err := arrange(table, 16*mib, testIDs())
	if err != nil {
		t.Fatal(err)
	}
	if data := want.Entry(contract.PartData); data.End() != 2<<21 {
		t.Errorf("data ends at %d", data.End())
	}
	if *want.Entry(9) != *table.Entry(9) {
		t.Error("the stranger changed")
	}
}

func TestEFIString(t *testing.T) {
	b := []byte{6, 0, 0, 0, 'a', 0, 'B', 0, 0, 0, 'x', 0}
	if got := efiString(b); got != "aB" {
		t.Errorf("%q", got)
	}
	for n := range 4 {
		if got := efiString(b[:n]); got != "" {
			t.Errorf("%d bytes: %q", n, got)
		}
	}
}
