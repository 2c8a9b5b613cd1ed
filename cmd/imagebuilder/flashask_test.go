package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/flash"
	"github.com/going-mobile/imagebuilder/image/verify"
)

// TestADeviceIsTypedByHand: only a device that is shown is accepted, by its whole name, and
// only devices that may be written to are shown.
func TestADeviceIsTypedByHand(t *testing.T) {
	devices := []flash.Device{
		{Path: "/dev/sda", Model: "Samsung SSD", Size: 1e12, Bus: "ata", System: true, Mounts: []string{"/"}},
		{Path: "/dev/sdb", Model: "SanDisk Ultra", Size: 32e9, Bus: "usb", Removable: true, Contents: []string{`vfat "PHOTOS" 31.9 GB`}},
		{Path: "/dev/sdc", Size: 16e9, Bus: "usb", Removable: true},
	}
	for typed, want := range map[string]string{"/dev/sdb\n": "/dev/sdb", " /dev/sdc \n": "/dev/sdc", "/dev/sda\n": "", "sdb\n": "", "y\n": "", "\n": "", "": ""} {
		var out bytes.Buffer
		cmd := asking(strings.NewReader(typed))
		cmd.SetErr(&out)
		a := asker{cmd: cmd}
		got, err := a.choose("cabin-pi", devices)
		if got.Target != want || got.Device.Path != want || (err == nil) != (want != "") {
			t.Errorf("typed %q: %+v, %v", typed, got, err)
		}
		for _, word := range []string{"/dev/sdb", "SanDisk Ultra", "32.0 GB", `vfat "PHOTOS"`, "the card of cabin-pi"} {
			if !strings.Contains(out.String(), word) {
				t.Errorf("it lacks %q: %s", word, out.String())
			}
		}
		if strings.Contains(out.String(), "Samsung") {
			t.Error("the system's disk is offered")
		}
	}
	a := asker{cmd: asking(strings.NewReader("/dev/sda\n"))}
	if _, err := a.choose("cabin-pi", devices[:1]); err == nil || !strings.Contains(err.Error(), "no card or stick") {
		t.Error(err)
	}
	mounted := flash.Device{Path: "/dev/sdd", Model: "Ultra", Size: 32e9, Bus: "usb", Removable: true, Mounts: []string{"/media/me/BOOT"}}
	if _, err := a.choose("cabin-pi", []flash.Device{devices[0], mounted}); err == nil || !strings.HasPrefix(err.Error(), "/dev/sdd (Ultra, 32.0 GB) is in use, mounted at /media/me/BOOT; unmount it first: ") {
		t.Errorf("a card that is mounted: %v", err)
	}
}

// TestDevicesAsJSON: a program learns what a person does, and lists are lists.
func TestDevicesAsJSON(t *testing.T) {
	var out bytes.Buffer
	if err := printJSON(&out, listed([]flash.Device{
		{Path: "/dev/sda", Size: 1e12, Bus: "ata", System: true, Mounts: []string{"/"}},
		{Path: "/dev/sdb", Model: "SanDisk Ultra", Serial: "42", Size: 32e9, Bus: "usb", Removable: true, Contents: []string{"vfat"}},
	}, false)); err != nil {
		t.Fatal(err)
	}
	const want = `[{"device":"/dev/sda","size":1000000000000,"bus":"ata","model":"","serial":"","contents":[],"usable":false,"whyNot":"/dev/sda (1.0 TB) is the disk this system runs from (/)"},` +
		`{"device":"/dev/sdb","size":32000000000,"bus":"usb","model":"SanDisk Ultra","serial":"42","contents":["vfat"],"usable":true}]`
	var got bytes.Buffer
	if err := json.Compact(&got, out.Bytes()); err != nil || got.String() != want {
		t.Errorf("%v, got\n%s, want\n%s", err, got.String(), want)
	}
	if none := listed(nil, false); none == nil {
		t.Error("no device is no list")
	}
}

// TestAChecklistIsToldOnce of each board, however many cards were written.
func TestAChecklistIsToldOnce(t *testing.T) {
	of := func(board string) *flash.Result {
		return &flash.Result{Image: &verify.Report{Label: &contract.Label{Board: board}}}
	}
	var out strings.Builder
	err := tellChecklists(&out, func(name string) (*board.Board, error) { return board.Load(name, boards.FS) }, of("optiplex-7050"), of("rpi4"), of("optiplex-7050"), of("somebody's"), &flash.Result{Image: &verify.Report{}})
	if err != nil || strings.Count(out.String(), "AC Recovery") != 1 {
		t.Errorf("%v, %s", err, out.String())
	}
}
