package flash

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// TestWhatIsWrittenIsReadBack to the byte, from an image file and a device, in
// both schemes; and reading changes nothing.
func TestWhatIsWrittenIsReadBack(t *testing.T) {
	want := secretYAML + strings.Repeat("\n", node.ReservedSize-len(secretYAML))
	for _, scheme := range []contract.Scheme{contract.MBR, contract.GPT} {
		img := testImage(t, scheme, false)
		for _, target := range []string{img, loop(t, img)} {
			if _, err := Personalize(t.Context(), target, Node{YAML: []byte(secretYAML)}); err != nil {
				t.Fatal(err)
			}
			before := readAll(t, img)
			card, err := Read(t.Context(), target, node.FileName, "absent.txt")
			if err != nil || len(card.Files) != 1 || string(card.Files[node.FileName]) != want || card.Label.Board != "rpi4" {
				t.Fatalf("%s: %+v, %v", target, card, err)
			}
			if !bytes.Equal(before, readAll(t, img)) {
				t.Errorf("%s: reading changed it", target)
			}
		}
	}
}

// TestALockedCardIsRead, and one that is mounted; neither is written to.
func TestALockedCardIsRead(t *testing.T) {
	img := testImage(t, contract.GPT, false)
	locked := loop(t, img, "-r")
	if card, err := Read(t.Context(), locked, node.FileName); err != nil || len(card.Files[node.FileName]) != node.ReservedSize {
		t.Errorf("%+v, %v", card, err)
	}
	if _, err := Personalize(t.Context(), locked, Node{YAML: []byte(secretYAML)}); err == nil || !strings.Contains(err.Error(), "is read-only; look for the switch on the card") {
		t.Error(err)
	}
	// As lookup describes one that a desktop has mounted.
	mounted := &Device{Path: locked, Size: fileSize(t, img), SectorSize: 512, Mounts: []string{"/media/me/BOOT"}}
	raw, err := openToRead(mounted)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openVolume(raw, mounted.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := b.readFile(node.FileName); err != nil || len(got) != node.ReservedSize {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := openFree(t.Context(), mounted); err == nil || !strings.Contains(err.Error(), "is mounted at /media/me/BOOT: name the directory of its boot partition instead, or unmount it: "+unmount(runtime.GOOS, *mounted)) {
		t.Error(err)
	}
}

// strict is a raw device of Windows or macOS: whole sectors, or a fault.
type strict struct{ medium }

func (s strict) check(b []byte, off int64) error {
	if off%sector != 0 || len(b)%sector != 0 {
		return fmt.Errorf("%d bytes at %d are no sectors", len(b), off)
	}
	return nil
}

func (s strict) ReadAt(b []byte, off int64) (int, error) {
	if err := s.check(b, off); err != nil {
		return 0, err
	}
	return s.medium.ReadAt(b, off)
}

func (s strict) WriteAt(b []byte, off int64) (int, error) {
	if err := s.check(b, off); err != nil {
		return 0, err
	}
	return s.medium.WriteAt(b, off)
}

// TestRawDevicesAreReadAndWrittenInSectors, as other systems than Linux demand.
func TestRawDevicesAreReadAndWrittenInSectors(t *testing.T) {
	img := testImage(t, contract.GPT, false)
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := &Device{Path: img, Size: fileSize(t, img)}
	raw := newDevice(d, f)
	raw.m = strict{raw.m}
	b, err := openVolume(raw, d.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.writeNode([]byte(secretYAML)); err != nil {
		t.Fatal(err)
	}
	if got, err := b.readFile(node.FileName); err != nil || !strings.HasPrefix(string(got), secretYAML) {
		t.Errorf("%.100q, %v", got, err)
	}
	if got, err := b.readFile(contract.LabelFile); err != nil || !strings.Contains(string(got), "rpi4") {
		t.Errorf("%.100q, %v", got, err)
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		text:                         "no boot partition of imagebuilder",
		dir:                          "no boot partition of imagebuilder in this directory",
		filepath.Join(dir, "absent"): "no such file",
		"/dev/null":                  "neither a file, a directory nor a disk",
		loop(t, blank(t, mib, 0)):    "no boot partition of imagebuilder",
	} {
		if _, err := Read(t.Context(), target, node.FileName); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), target+": ") {
			t.Errorf("%s: %v", target, err)
		}
	}
}
