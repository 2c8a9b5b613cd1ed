package boot

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// reader reads files of a tree as an image's boot partition gives them.
func reader(t *tree.Tree) func(string) ([]byte, error) {
	return func(p string) ([]byte, error) {
		n := t.Get(p)
		if n == nil {
			return nil, &fs.PathError{Op: "find", Path: p, Err: fs.ErrNotExist}
		}
		return readAll(p, n.Content)
	}
}

func names(files []SlotFile) (all string) {
	for _, f := range files {
		all += f.Name + " "
	}
	return all
}

// TestSlotFiles: what is made of slot a's files for slot b is what a build would
// have made for slot b.
func TestSlotFiles(t *testing.T) {
	plain, signed, pi := input(t), signedInput(t), piInput(t)
	plain.Title, signed.BIOS = "A machine (slot a) of /a/ kind", true
	uki, err := slotUKI(plain, "b")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		make func() (*tree.Tree, error)
		kit  string
		b    map[string]string
	}{
		"unified": {func() (*tree.Tree, error) { return ESP(plain) }, "uki ", map[string]string{slot.Unified: string(uki)}},
		"signed": {func() (*tree.Tree, error) { return ESP(signed) }, "initrd.img grub.cfg vmlinuz entry ", map[string]string{
			slot.Entry: signed.entry("b"), slot.OptionsFile: fmt.Sprintf("set options='%s'\n", signed.cmdline("b"))}},
		"pi": {func() (*tree.Tree, error) { return RaspberryPi(pi) }, "initrd.img cmdline.txt vmlinuz ", map[string]string{slot.Cmdline: "bootargs=" + pi.cmdline("b") + "\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := c.make()
			if err != nil {
				t.Fatal(err)
			}
			files, err := SlotFiles(reader(made), nil)
			if err != nil || names(files) != c.kit {
				t.Fatalf("%s, %v; want %s", names(files), err, c.kit)
			}
			for _, f := range files {
				want, changes := c.b[f.Name]
				if !changes {
					want = string(f.A)
				}
				if string(f.B) != want {
					t.Errorf("%s: %q\nwant %q", f.Name, f.B, want)
				}
			}
		})
	}
}

// TestSlotFilesWithoutALetter: what does not name its slot would start the other's
// root.
func TestSlotFilesWithoutALetter(t *testing.T) {
	uki, err := slotUKI(input(t), "b")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a/cmdline.txt": "bootargs=quiet", "loader/entries/imagebuilder-1-a.conf": "title x\n",
		"EFI/Linux/imagebuilder-1-a.efi": string(uki),
	} {
		_, err := SlotFiles(func(p string) ([]byte, error) {
			if p != name {
				return nil, fs.ErrNotExist
			}
			return []byte(text), nil
		}, nil)
		if err == nil || !strings.Contains(err.Error(), "does not name slot a") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := SlotFiles(func(string) ([]byte, error) { return []byte("junk"), nil }, nil); err == nil {
		t.Error("junk is taken")
	}
}

// TestSlotFilesOfAnOwner: slot b's kernel bears the owner's signature as well, and
// nobody else's.
func TestSlotFilesOfAnOwner(t *testing.T) {
	in, _ := ownInput(t)
	other, _ := ownInput(t)
	esp, err := ESP(in)
	if err != nil {
		t.Fatal(err)
	}
	want, err := slotUKI(in, "b")
	if err != nil {
		t.Fatal(err)
	}
	files, err := SlotFiles(reader(esp), in.Owner)
	if err != nil || len(files) != 1 || string(files[0].B) != string(want) {
		t.Errorf("%s, %v", names(files), err)
	}
	unsigned, err := ESP(input(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		esp   *tree.Tree
		owner *authenticode.Signer
		want  string
	}{
		"no key":       {esp, nil, "--sign KEY"},
		"another key":  {esp, other.Owner, "another key"},
		"no signature": {unsigned, in.Owner, "bears no signature"},
	} {
		if _, err := SlotFiles(reader(c.esp), c.owner); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnifiedParts: without what each slot has for itself both slots have the same,
// signed or not, and the initramfs is found as it was put in.
func TestUnifiedParts(t *testing.T) {
	own, _ := ownInput(t)
	for name, in := range map[string]Input{"unsigned": input(t), "signed": own} {
		var blank [][]byte
		for _, slot := range contract.Slots {
			uki, err := slotUKI(in, slot)
			if err != nil {
				t.Fatal(err)
			}
			initrd, own, err := UnifiedParts(uki)
			if err != nil {
				t.Fatal(err)
			}
			if want, err := Initramfs(in); err != nil || !bytes.Equal(uki[initrd.At:initrd.At+initrd.Size], want) {
				t.Errorf("%s: the initramfs is elsewhere: %+v, %v", name, initrd, err)
			}
			for _, s := range own {
				clear(uki[s.At : s.At+s.Size])
			}
			blank = append(blank, uki)
		}
		if !bytes.Equal(blank[0], blank[1]) {
			t.Errorf("%s: slots differ in more", name)
		}
	}
	for name, junk := range map[string][]byte{"nothing": nil, "a program": makePE(20, 0)} {
		if _, _, err := UnifiedParts(junk); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
