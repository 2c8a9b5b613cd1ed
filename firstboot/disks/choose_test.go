package disks

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

const (
	idA = "aaaaaaaa-0000-4000-8000-000000000001"
	idB = "bbbbbbbb-0000-4000-8000-000000000001"
)

// ssd is a disk with a serial number.
func ssd(name, serial string) Disk {
	return Disk{Name: name, Label: name, IDs: []string{"ata-SSD_" + serial}, Models: []string{"SSD"}, Size: 500e9, Sector: 512}
}

// own is a disk that some node uses for its data.
func own(d Disk, id string) Disk {
	d.Table = &ptable.Table{Scheme: contract.GPT, ID: id, SectorSize: 512, Sectors: 500e9 / 512,
		Entries: []ptable.Entry{{Number: 1, Type: contract.TypeDataDisk, First: 8192, Sectors: 8192}}}
	return d
}

func resized(d Disk, size int64) Disk { d.Size = size; return d }

func damaged(d Disk, err error) Disk { d.Err = err; return d }

func protected(d Disk) Disk { d.ReadOnly = true; return d }

func TestTheRightDiskOrWordsWhyNot(t *testing.T) {
	byName := node.Disk{Path: "/dev/disk/by-id/ata-SSD_1"}
	pattern := node.Disk{Model: "SSD", Size: ">=400GB"}
	none := content{state: blank}
	ours := content{state: made, mark: mark{true, Data, "cabin-pi"}, id: idA}
	theirs := content{state: made, mark: mark{true, Data, "home-pi"}, id: idB}
	card := Disk{Name: "mmcblk0", Label: "mmcblk0, memory card", IDs: []string{"mmc-SD_1"}, Size: 32e9}
	tests := []struct {
		name string
		all  []Disk
		on   map[string]content // by name; others are blank
		want Want
		get  string // the disk, or the code of the fault and some of its words
	}{
		{"blank, by name", []Disk{card, ssd("sda", "1"), ssd("sdb", "2")}, nil, Want{Spec: byName}, "sda"},
		{"names of the kernel change", []Disk{card, ssd("sda", "2"), ssd("sdb", "1")}, nil, Want{Spec: byName}, "sdb"},
		{"blank, by pattern", []Disk{card, ssd("sda", "1")}, nil, Want{Spec: pattern}, "sda"},
		{"a pattern waits for slow buses", []Disk{card, ssd("sda", "1")}, nil, Want{Spec: pattern, Early: true}, "absent"},
		{"a name need not", []Disk{card, ssd("sda", "1")}, nil, Want{Spec: byName, Early: true}, "sda"},
		{"begun", []Disk{ssd("sda", "1")}, map[string]content{"sda": {state: making, mark: mark{false, Data, "home-pi"}}}, Want{Spec: byName}, "sda"},
		{"this node's own, after its card was written anew", []Disk{own(ssd("sda", "1"), idA)}, map[string]content{"sda": ours}, Want{Spec: byName}, "sda"},
		{"none", nil, nil, Want{Spec: byName}, "absent: The disk for this computer's data (/dev/disk/by-id/ata-SSD_1) is not there"},
		{"another", []Disk{card, ssd("sda", "2")}, nil, Want{Spec: byName}, "absent: mmc-SD_1; sda, ata-SSD_2"},
		{"two", []Disk{ssd("sda", "1"), ssd("sdb", "2")}, nil, Want{Spec: pattern}, "several: sda, ata-SSD_1; sdb, ata-SSD_2"},
		{"two with one name", []Disk{ssd("sda", "1"), ssd("sdb", "1")}, nil, Want{Spec: byName}, "several"},
		{"two of which one is ours", []Disk{own(ssd("sda", "1"), idA), ssd("sdb", "2")}, map[string]content{"sda": ours}, Want{Spec: pattern}, "several"},
		{"the boot disk", []Disk{card}, map[string]content{"mmcblk0": {what: "x"}}, Want{Spec: node.Disk{Path: "/dev/disk/by-id/mmc-SD_1"}}, "taken: other work"},
		{"the boot disk, were it blank", []Disk{card}, nil, Want{Spec: node.Disk{Size: "32GB"}}, "taken: other work"},
		{"somebody's", []Disk{ssd("sda", "1")}, map[string]content{"sda": {what: "there is NTFS on it"}}, Want{Spec: byName}, "not-empty: there is NTFS on it. Nothing was changed"},
		{"another node's", []Disk{own(ssd("sda", "1"), idB)}, map[string]content{"sda": theirs}, Want{Spec: byName}, "other-node: belongs to node home-pi; disk of node cabin-pi"},
		{"nobody knows whose", []Disk{own(ssd("sda", "1"), idB)}, map[string]content{"sda": {state: made, id: idB}}, Want{Spec: byName}, "other-node: belongs to an unknown node"},
		{"too small", []Disk{resized(ssd("sda", "1"), 1e9)}, nil, Want{Spec: byName}, "too-small: it holds 1.0 GB, at least 2.1 GB"},
		{"write-protected", []Disk{protected(ssd("sda", "1"))}, nil, Want{Spec: byName}, "write-protected"},
		{"unreadable", []Disk{ssd("broken", "1")}, nil, Want{Spec: byName}, "unreadable: input/output error"},

		{"known", []Disk{ssd("sda", "1"), own(ssd("sdb", "2"), idA)}, nil, Want{Known: idA}, "sdb"},
		{"known, whatever node.yaml says now", []Disk{ssd("sda", "1"), own(ssd("sdb", "2"), idA)}, nil, Want{Known: idA, Spec: byName}, "sdb"},
		{"known and write-protected", []Disk{protected(own(ssd("sdb", "2"), idA))}, nil, Want{Known: idA}, "write-protected: sdb, ata-SSD_2"},
		{"known, and a copy may still come", []Disk{own(ssd("sdb", "2"), idA)}, nil, Want{Known: idA, Early: true}, "absent"},
		{"known, with a table that is wrong", []Disk{damaged(own(ssd("sdb", "2"), idA), errors.New("checksum"))}, nil, Want{Known: idA}, "unreadable: checksum; sdb, ata-SSD_2; Do not format"},
		{"known, and copied to a smaller one", []Disk{damaged(own(ssd("sdb", "2"), idA), fmt.Errorf("partition 1: %w", ptable.ErrTooShort))}, nil, Want{Known: idA}, "too-small: copied to a smaller one; sdb, ata-SSD_2"},
		{"known and copied", []Disk{own(ssd("sda", "1"), idA), own(ssd("sdb", "2"), idA)}, nil, Want{Known: idA}, "several: more than once; Unplug the copy"},
		{"known and gone", []Disk{card}, nil, Want{Known: idA}, "gone: which this node has used so far, is not there; write the image anew"},
		{"known and gone, as node.yaml knows too", []Disk{card}, nil, Want{Known: idA, Spec: byName}, "gone"},
		{"a blank one takes the place of the known", []Disk{ssd("sda", "1")}, nil, Want{Known: idA, Spec: byName}, "replaced: Plug in that very disk"},
		{"a pattern does not give up the known", []Disk{ssd("sda", "1")}, nil, Want{Known: idA, Spec: pattern, Early: true}, "replaced"},
		{"another node's takes the place of the known", []Disk{own(ssd("sda", "1"), idB)}, map[string]content{"sda": theirs}, Want{Known: idA, Spec: byName}, "other-node"},
		{"an earlier one of this node takes the place of the known", []Disk{own(ssd("sda", "1"), idB)}, map[string]content{"sda": ours}, Want{Known: idA, Spec: byName}, "replaced"},
		{"the known was erased", []Disk{ssd("sda", "1")}, map[string]content{"sda": none}, Want{Known: idA, Spec: byName}, "replaced"},
		{"a disk with the ID and no such partition", []Disk{foreignTable(ssd("sda", "1"), idA)}, map[string]content{"sda": {what: "x"}}, Want{Known: idA, Spec: byName}, "not-empty"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := test.want
			w.Purpose, w.Node, w.Taken = Data, "cabin-pi", []string{"mmcblk0"}
			c, err := choose(test.all, w, func(d Disk) (content, error) {
				if d.Name == "broken" {
					return content{}, errors.New("input/output error")
				}
				if c, ok := test.on[d.Name]; ok {
					return c, nil
				}
				return none, nil
			})
			code, words, _ := strings.Cut(test.get, ": ")
			var f *Fault
			switch {
			case err == nil && c.Name == code:
			case !errors.As(err, &f) || string(f.Code) != code:
				t.Fatalf("got %q, %v, want %s", c.Name, err, test.get)
			}
			for _, want := range strings.Split(words, "; ") {
				if want != "" && !strings.Contains(f.Error()+f.Do+f.Disks, want) {
					t.Errorf("no %q in %+v", want, f)
				}
			}
		})
	}
}

// A disk that fails, for a moment or for good, is named, so that whoever waits for it
// says which one, and goes on when it is back.
func TestADiskThatFailsIsNamed(t *testing.T) {
	for err, want := range map[error]string{
		syscall.EIO: "unreadable", syscall.ENXIO: "unreadable", errors.New("lock sda: resource temporarily unavailable"): "unreadable",
		syscall.EROFS: "write-protected", syscall.EACCES: "write-protected", syscall.EBUSY: "taken",
	} {
		var f *Fault
		got := Want{Purpose: Data}.Broken(ssd("sda", "1"), fmt.Errorf("open: %w", err))
		if !errors.As(got, &f) || string(f.Code) != want || !errors.Is(got, err) || f.Disks != "sda, ata-SSD_1" || f.Do == "" {
			t.Errorf("%v: %+v", err, got)
		}
		if strings.Contains(f.What, "Nothing was changed") {
			t.Errorf("%v: our own work may have begun: %s", err, f.What)
		}
	}
}

func foreignTable(d Disk, id string) Disk {
	d = own(d, id)
	d.Table.Entries[0].Type = contract.TypeESP
	return d
}
