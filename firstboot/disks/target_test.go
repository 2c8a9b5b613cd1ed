package disks

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// numbered is a disk that tells its serial number.
func numbered(name, serial string) Disk {
	d := ssd(name, serial)
	d.Serial = serial
	return d
}

// faultIs wants the code of a fault and, behind a colon, some of its words; "" is
// no fault.
func faultIs(t *testing.T, err error, want string) {
	t.Helper()
	code, words, _ := strings.Cut(want, ": ")
	var f *Fault
	switch {
	case want == "" && err == nil:
		return
	case !errors.As(err, &f) || string(f.Code) != code:
		t.Fatalf("got %v, want %q", err, want)
	}
	for _, w := range strings.Split(words, "; ") {
		if !strings.Contains(f.Error()+f.Do+f.Disks, w) {
			t.Errorf("no %q in %+v", w, f)
		}
	}
	if !strings.Contains(f.What, "Nothing was changed on any disk") || f.Do == "" {
		t.Errorf("%+v says too little", f)
	}
}

func TestExactlyOneDiskIsInstalledOn(t *testing.T) {
	stick := numbered("sda", "STICK")
	for _, test := range []struct {
		name string
		all  []Disk
		want Target
		get  string // the disk, or the fault
	}{
		{"by its number", []Disk{stick, numbered("sdb", "1"), numbered("sdc", "2")}, Target{Want: node.Install{Disk: node.InstallDisk{Serial: "2"}}}, "sdc"},
		{"no such number", []Disk{stick, numbered("sdb", "1")}, Target{Want: node.Install{Disk: node.InstallDisk{Serial: "2"}}}, "absent: The disk to install on (serial 2) is not there; sdb, ata-SSD_1"},
		{"the stick has the number", []Disk{stick, numbered("sdb", "1")}, Target{Want: node.Install{Disk: node.InstallDisk{Serial: "STICK"}}}, "absent"},
		{"two of one number", []Disk{stick, numbered("sdb", "1"), numbered("sdc", "1")}, Target{Want: node.Install{Disk: node.InstallDisk{Serial: "1"}}}, "several: sdb; sdc"},
		{"by model", []Disk{stick, numbered("sdb", "1")}, Target{Want: node.Install{Disk: node.InstallDisk{Model: "SS*"}}}, "sdb"},
		{"two of a model", []Disk{stick, numbered("sdb", "1"), numbered("sdc", "2")}, Target{Want: node.Install{Disk: node.InstallDisk{Model: "SSD"}}}, "several: sdb, ata-SSD_1; sdc, ata-SSD_2; by its serial number"},
		{"the only one", []Disk{stick, numbered("nvme0n1", "1")}, Target{Want: node.Install{Disk: node.InstallDisk{Only: true}}}, "nvme0n1"},
		{"not the only one", []Disk{stick, numbered("sdb", "1"), numbered("nvme0n1", "2")}, Target{Want: node.Install{Disk: node.InstallDisk{Only: true}}}, "several: the only one besides the stick"},
		{"none at all", []Disk{stick}, Target{Want: node.Install{Disk: node.InstallDisk{Only: true}}}, "absent"},
		{"more may come", []Disk{stick, numbered("nvme0n1", "1")}, Target{Want: node.Install{Disk: node.InstallDisk{Only: true}}, Early: true}, "absent"},
		{"the firmware hides another", []Disk{stick, numbered("sdb", "1")}, Target{Want: node.Install{Disk: node.InstallDisk{Only: true}}, Hidden: 1}, "absent: SATA Operation to AHCI"},
		{"the firmware hides another than is named", []Disk{stick, numbered("sdb", "1")}, Target{Want: node.Install{Disk: node.InstallDisk{Serial: "1"}}, Hidden: 1}, "sdb"},
		{"the node's own disk for data", []Disk{stick, numbered("sdb", "1")}, Target{Want: node.Install{Disk: node.InstallDisk{Model: "SSD"}}, Kept: []node.Disk{{}, {Model: "S*"}}}, "taken: also fits dataDisk: or longhorn: disk:; sdb, ata-SSD_1; more exactly"},
		{"the node's own disk for data, and more may come", []Disk{stick, numbered("sdb", "1")}, Target{Want: node.Install{Disk: node.InstallDisk{Model: "SSD"}}, Kept: []node.Disk{{Model: "S*"}}, Early: true}, "absent"},
		{"the node's own disk for data, and the firmware hides another", []Disk{stick, numbered("sdb", "1")}, Target{Want: node.Install{Disk: node.InstallDisk{Model: "SSD"}}, Kept: []node.Disk{{Model: "S*"}}, Hidden: 1}, "absent"},
		{"the firmware hides it", []Disk{stick}, Target{Want: node.Install{Disk: node.InstallDisk{Only: true}}, Hidden: 1}, "absent: SATA Operation to AHCI"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Stick = stick
			d, err := test.want.Find(test.all)
			if err == nil {
				if d.Name != test.get {
					t.Errorf("got %s, want %s", d.Name, test.get)
				}
				return
			}
			faultIs(t, err, test.get)
		})
	}
}

// installed is a disk with a node's own system, and data unless it never started.
func installed(d Disk, dataType string) Disk {
	d.Table = &ptable.Table{Scheme: contract.GPT, ID: idA, SectorSize: 512, Sectors: 500e9 / 512, Entries: []ptable.Entry{
		{Number: 1, Type: contract.TypeESP, First: 8192, Sectors: 8192},
		{Number: 2, Type: contract.TypeRootAMD64, Name: contract.NameRootA, First: 16384, Sectors: 8192},
		{Number: 4, Type: dataType, Name: contract.NameData, First: 32768, Sectors: 8192},
	}}
	return d
}

// TestWhatIsReplacedWasAllowed: data of a node needs one word, everybody else's
// another, and neither stands for both.
func TestWhatIsReplacedWasAllowed(t *testing.T) {
	const size = 64 * mib
	blank := make([]byte, size)
	at := func(off int, text string, first ...string) []byte {
		b := bytes.Clone(blank)
		copy(b, strings.Join(first, ""))
		copy(b[off:], text)
		return b
	}
	sized := func(d Disk) Disk { return resized(d, size) }
	plain, data := sized(numbered("sdb", "1")), func(d Disk) Disk { return sized(own(d, idA)) }
	wipe, replace, both := node.Install{Wipe: true}, node.Install{ReplaceData: true}, node.Install{Wipe: true, ReplaceData: true}
	for _, test := range []struct {
		name    string
		disk    Disk
		content []byte
		allowed node.Install
		want    string
	}{
		{"blank", plain, blank, node.Install{}, ""},
		{"somebody's", plain, at(3, "NTFS    "), node.Install{}, "not-empty: there is a Windows file system (NTFS) on it; wipe: true"},
		{"somebody's, at the end only", plain, at(size-100, "RAID"), node.Install{}, "not-empty: there is something on it"},
		{"somebody's, and data may go", plain, at(3, "NTFS    "), replace, "not-empty"},
		{"somebody's may go", plain, at(3, "NTFS    "), wipe, ""},
		{"a node's", installed(plain, contract.TypeVar), at(512, "EFI PART"), node.Install{}, "has-data: replaceData: true"},
		{"a node's, and strangers' may go", installed(plain, contract.TypeVar), at(512, "EFI PART"), wipe, "has-data"},
		{"a node's may go", installed(plain, contract.TypeVar), at(512, "EFI PART"), replace, ""},
		{"a node's whose data is elsewhere", installed(plain, contract.TypeElsewhere), at(512, "EFI PART"), wipe, "has-data"},
		{"an image that never started", installed(plain, contract.TypePending), at(512, "EFI PART"), replace, "not-empty: a partition table (GPT)"},
		{"an image that never started may go", installed(plain, contract.TypePending), at(512, "EFI PART"), wipe, ""},
		{"a node's own disk", data(numbered("sdb", "1")), at(512, "EFI PART"), wipe, "has-data"},
		{"a node's own disk, spoilt", plain, at(0, string(mark{true, Data, "home-pi"}.encode())), wipe, "has-data"},
		{"unfinished", plain, at(0, string(UnfinishedSystem("home-pi"))), node.Install{}, ""},
		{"unfinished, and partitioned since", plain, at(510, "\x55\xaa", string(UnfinishedSystem("home-pi"))), node.Install{}, "not-empty: there is a partition table on it"},
		{"unfinished, partitioned since, and may go", plain, at(510, "\x55\xaa", string(UnfinishedSystem("home-pi"))), wipe, ""},
		{"unfinished, behind which somebody's was", plain, append(at(0, string(UnfinishedSystem("home-pi")))[:size-8], "RAIDRAID"...), node.Install{}, ""},
		{"write-protected", protected(plain), blank, both, "write-protected"},
		{"too small", resized(plain, 32*mib), blank, both, "too-small: it holds 0.0 GB"},
		{"other sectors", func() Disk { d := plain; d.Sector = 4096; return d }(), blank, both, "sectors: has sectors of 4096 bytes; is made for 512"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := Target{Want: test.allowed, Stick: Disk{Name: "sda", Sector: 512}, Need: 40 * mib}
			faultIs(t, w.Judge(test.disk, bytes.NewReader(test.content)), test.want)
		})
	}
	w := Target{Want: both, Stick: Disk{Sector: 512}}
	faultIs(t, w.Judge(plain, broken{}), "unreadable: input/output error")
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("input/output error") }

// TestAnUnfinishedSystemIsNobodysDisk: its mark must be one that Judge, and
// whoever looks for a disk of its own, know for what it is.
func TestAnUnfinishedSystemIsNobodysDisk(t *testing.T) {
	sector := append(UnfinishedSystem("cabin-box"), make([]byte, 72)...)
	m, ok := parseMark(sector)
	if !ok || m.done || m.purpose != System || m.node != "cabin-box" {
		t.Errorf("%+v %v", m, ok)
	}
}

// eMMC is on the bus of memory cards, and nobody takes it out.
func TestWhatIsSolderedIn(t *testing.T) {
	labels := map[bool]string{true: "mmcblk0, 1.0 GB, built in (eMMC)", false: "mmcblk0, 1.0 GB, memory card"}
	for kind, want := range map[string]bool{"MMC": true, "SD": false} {
		sys, name := tree(t, map[string]string{"mmc_host/mmc0/mmc0:0001/block/mmcblk0/dev": "", "mmc_host/mmc0/mmc0:0001/type": kind + "\n"})
		if got := sys.soldered(name); got != want {
			t.Errorf("%s: %v", kind, got)
		}
		d := Disk{Name: name, Path: sys.home(name), Size: 1e9, Soldered: sys.soldered(name)}
		if got := d.label(); got != labels[want] {
			t.Errorf("%s: people are told of %q", kind, got)
		}
	}
}

func TestADisksNumber(t *testing.T) {
	page80 := func(text string) string { return "\x00\x80\x00" + string(rune(len(text))) + text }
	for want, attrs := range map[string]map[string]string{
		"VIRTIO1": {"pci/virtio1/block/vda/dev": "", "pci/virtio1/block/vda/serial": "VIRTIO1\n"},
		"NVME1":   {"pci/nvme/nvme0/nvme0n1/dev": "", "pci/nvme/nvme0/serial": "NVME1      \n"},
		"0x1234":  {"mmc_host/mmc0/mmc0:1/block/mmcblk0/dev": "", "mmc_host/mmc0/mmc0:1/serial": "0x1234\n"},
		"ATA1":    {"pci/ata1/host0/target/0:0:0:0/block/sda/dev": "", "pci/ata1/host0/target/0:0:0:0/vpd_pg89": identify("SSD", "ATA1", 0), "pci/ata1/host0/target/0:0:0:0/vpd_pg80": page80("other")},
		"SCSI1":   {"pci/host0/target/0:0:0:0/block/sda/dev": "", "pci/host0/target/0:0:0:0/vpd_pg80": page80(" SCSI1  ")},
		"USB1":    {"pci/usb1/1-1/serial": "USB1\n", "pci/usb1/1-1/1-1:1.0/bInterfaceClass": "08", "pci/usb1/1-1/1-1:1.0/host0/target/0:0:0:0/block/sda/dev": ""},
		"":        {"pci/host0/target/0:0:0:0/block/sda/dev": "", "pci/host0/target/0:0:0:0/vpd_pg80": "\x00\x80\x00\x20short"},
	} {
		sys, name := tree(t, attrs)
		if got := sys.serial(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
