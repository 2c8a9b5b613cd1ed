package flash

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// TestAllowRepair: the permission comes onto both kinds of images, and into the directory
// of one that is mounted.
func TestAllowRepair(t *testing.T) {
	for _, scheme := range []contract.Scheme{contract.MBR, contract.GPT} {
		img := testImage(t, scheme, false)
		if c, err := Read(t.Context(), img, contract.RepairFile); err != nil || len(c.Files) > 0 {
			t.Fatalf("%+v, %v", c, err)
		}
		if _, err := AllowRepair(t.Context(), img); err != nil {
			t.Fatal(err)
		}
		if c, err := Read(t.Context(), img, contract.RepairFile); err != nil || c.Files[contract.RepairFile] == nil {
			t.Errorf("%s: %+v, %v", scheme, c, err)
		}
	}
	b, err := openBoot(t.Context(), testImage(t, contract.GPT, false), true)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	disk := b.(*volume).t
	m := &broken{medium: disk.m}
	disk.m = m
	if err := b.touch(contract.RepairFile); err != nil || m.syncs != 1 {
		t.Errorf("the disk was asked %d times to write it down, %v: macOS knows no other way", m.syncs, err)
	}
	dir := t.TempDir()
	if _, err := AllowRepair(t.Context(), dir); err == nil {
		t.Error("any directory is taken for a boot partition")
	}
	label, err := contract.Label{Version: 1, Board: "rpi4", DiskID: "deadbeef", Slots: contract.Slots}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, contract.LabelFile), label, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := AllowRepair(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, contract.RepairFile)); err != nil {
		t.Error(err)
	}
}
