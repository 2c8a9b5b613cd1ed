package efiboot

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
)

// Nodes as edk2's firmware makes them.
const (
	pciRoot = "02010c00d041030a00000000"
	pci     = "010106000004"
	usb     = "030506000100"
	usbWWID = "03100e00000081075155 41004200"
	nvme    = "0317100001000000e4d25c0102030405"
	sata    = "03120a000000ffff0000"
	sd      = "031a050000"
	emmc    = "031d050000"
	bbs     = "0501090002000000 00"
	hd      = "04012a00010000000020000000000000000008000000000033221100554477668899aabbccddeeff0202"
	end     = "7fff0400"
)

func option(t *testing.T, title string, nodes ...string) []byte {
	t.Helper()
	path, err := hex.DecodeString(strings.ReplaceAll(strings.Join(nodes, ""), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	head := binary.LittleEndian.AppendUint16([]byte{1, 0, 0, 0}, uint16(len(path)))
	return slices.Concat(head, text(title), path, []byte("optional data, which is no path"))
}

func TestWhatWasStarted(t *testing.T) {
	for name, test := range map[string]struct {
		nodes []string
		want  Medium
	}{
		"a stick":               {[]string{pciRoot, pci, usb, hd, end}, USB},
		"a stick behind a hub":  {[]string{pciRoot, pci, usb, usb, hd, end}, USB},
		"a stick by its number": {[]string{usbWWID, hd, end}, USB},
		"NVMe":                  {[]string{pciRoot, pci, pci, nvme, hd, end}, Other},
		"SATA":                  {[]string{pciRoot, pci, sata, hd, end}, Other},
		"virtio":                {[]string{pciRoot, pci, hd, end}, Other},
		"a card":                {[]string{pciRoot, pci, sd, end}, Card},
		"eMMC":                  {[]string{pciRoot, pci, emmc, end}, Card},
		"the short form":        {[]string{hd, end}, Unknown},
		"a BIOS's":              {[]string{bbs, end}, Unknown},
		"nothing":               {nil, Unknown},
		"a node without end":    {[]string{pciRoot, pci, "03050600"}, Unknown},
		"a node without length": {[]string{pciRoot, pci, "03050000", "0000"}, Unknown},
	} {
		s := newStore()
		s.vars["BootCurrent"], s.vars["Boot000A"], s.vars["Boot0000"] = []byte{10, 0}, option(t, "UEFI: Stick", test.nodes...), option(t, "", pciRoot, pci, usb, end)
		if got := Started(s); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	entry, err := disk.encode()
	if err != nil {
		t.Fatal(err)
	}
	s := newStore()
	s.vars["BootCurrent"], s.vars["Boot0000"] = []byte{0, 0}, entry
	if got := Started(s); got != Unknown {
		t.Errorf("an entry of ours: %q", got)
	}
}

// TestNobodySaysWhatWasStarted: then Started guesses nothing.
func TestNobodySaysWhatWasStarted(t *testing.T) {
	stick := option(t, "stick", pciRoot, pci, usb, hd, end)
	for name, vars := range map[string]map[string][]byte{
		"no BootCurrent": {"Boot0000": stick}, "a short one": {"BootCurrent": {0}, "Boot0000": stick}, "no such entry": {"BootCurrent": {1, 0}, "Boot0000": stick},
	} {
		s := newStore()
		s.vars = vars
		if got := Started(s); got != Unknown {
			t.Errorf("%s: %q", name, got)
		}
	}
	s := newStore()
	s.vars["BootCurrent"], s.vars["Boot0000"] = []byte{0, 0}, stick
	for at := 1; at <= 2; at++ {
		calls := 0
		s.fault = func() error {
			if calls++; calls == at {
				return errors.New("EIO")
			}
			return nil
		}
		if got := Started(s); got != Unknown {
			t.Errorf("access %d failed: %q", at, got)
		}
	}
}

func FuzzMedium(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 4, 0, 0, 0, 0x7f, 0xff, 4, 0})
	f.Fuzz(func(_ *testing.T, data []byte) { _ = mediumOf(pathOf(data)) })
}
