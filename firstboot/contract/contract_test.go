package contract_test

import (
	"crypto/sha256"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

func TestKernelArgumentsAreReadAsTheyWereWritten(t *testing.T) {
	for _, v := range []*contract.Verity{nil, {Blocks: 30_000, Root: sha256.Sum256([]byte("root"))}} {
		want := contract.Args{Slot: "b", DiskID: "deadbeef", SlotSize: 512 << 20, Watchdog: time.Minute, Verity: v}
		got, err := contract.ParseArgs("console=tty0 " + want.Encode() + " quiet\n")
		got.Module = nil
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
}

func TestKernelArgumentsOfOthers(t *testing.T) {
	got, err := contract.ParseArgs("console=tty0 imagebuilder.slot=b imagebuilder.disk=DEADBEEF imagebuilder.slotsize=512 quiet " +
		"systemd.watchdog_sec=60 imagebuilder.bootdev=mmc imagebuilder.trial=1 usb-storage.quirks=1:2:u usbcore.nousb\n")
	want := contract.Args{Slot: "b", DiskID: "deadbeef", SlotSize: 512 << 20, BootDevice: "mmc", Trial: true, Watchdog: time.Minute}
	for name, want := range map[string]string{"usb_storage": "quirks=1:2:u", "usbcore": "nousb", "uas": ""} {
		if options := got.ModuleOptions(name); options != want {
			t.Errorf("options of %s: %q, want %q", name, options, want)
		}
	}
	got.Module = nil
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestWrongKernelArgumentsAreRefused(t *testing.T) {
	const size = " imagebuilder.slotsize=1"
	for _, line := range []string{"", "quiet", size, "imagebuilder.slot=a", "imagebuilder.slot=c" + size, "imagebuilder.slot=" + size,
		"imagebuilder.slot=ab" + size, "imagebuilder.slot=a imagebuilder.slotsize=x", "imagebuilder.slot=a imagebuilder.slotsize=0",
		"imagebuilder.slot=a systemd.watchdog_sec=1min" + size, "imagebuilder.slot=a imagebuilder.verity=" + size, "imagebuilder.slot=a imagebuilder.verity=9:00" + size,
		"imagebuilder.slot=a imagebuilder.verity=0:" + strings.Repeat("00", 32) + size, "imagebuilder.slot=a imagebuilder.verity=9:" + strings.Repeat("0g", 32) + size} {
		if _, err := contract.ParseArgs(line); err == nil {
			t.Errorf("%q accepted", line)
		}
		if got, err := contract.ParseArgs(line + " imagebuilder.trial=1"); err == nil || !got.Trial {
			t.Errorf("%q: the trial is not known: %+v, %v", line, got, err)
		}
	}
}

func TestModulesAreReadAsTheyWereWritten(t *testing.T) {
	want := []contract.Module{{Path: "usr/lib/modules/6.12/core.ko.xz", Needs: []string{}}, {Path: "a/b.ko", Needs: []string{"core", "c_d"}}}
	if diff := cmp.Diff(want, contract.ParseModules(contract.EncodeModules(want)+"\n")); diff != "" {
		t.Error(diff)
	}
}

func TestTheEpochIsReadAsItWasWritten(t *testing.T) {
	want := time.Unix(1763800000, 0)
	if got, err := contract.ParseEpoch(contract.EncodeEpoch(want)); err != nil || !got.Equal(want) {
		t.Error(got, err)
	}
	if got, err := contract.ParseEpoch(""); err == nil {
		t.Error("nothing read as", got)
	}
}

func TestWhatPersistsIsReadAsItWasWritten(t *testing.T) {
	list := contract.Persist{"/etc/ssh/*_key", "/etc/rancher/", "/etc/hostname", "/etc/hostname"}
	got, err := contract.ParsePersist("# a comment\n\n" + list.Encode())
	if want := (contract.Persist{"/etc/hostname", "/etc/rancher/", "/etc/ssh/*_key"}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOnlyOurImagesHaveABoard(t *testing.T) {
	if board, ours := contract.ImageBoard(contract.ImageID("rpi4")); board != "rpi4" || !ours {
		t.Error(board, ours)
	}
	if board, ours := contract.ImageBoard("debian"); ours {
		t.Error("debian is board", board)
	}
}

func TestTheStateIsReadAsItWasWritten(t *testing.T) {
	want := contract.State{Slot: "b", Trial: true, Disk: "mmcblk1", DiskID: "ab", DataDisk: "sda", Repaired: true, Watchdog: 60}
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := contract.ParseState(data); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}
