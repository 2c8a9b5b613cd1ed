package image

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/overlays"
)

// TestNotesForPeopleMakeNoNewImage: every other field of a board may.
func TestNotesForPeopleMakeNoNewImage(t *testing.T) {
	plain := dataOf(t, func(*board.Board) {})
	for name, change := range map[string]func(*board.Board){
		"memory":    func(b *board.Board) { b.Memory = 1 },
		"label":     func(b *board.Board) { b.Label.Note = "changed"; b.Label.Sides = nil },
		"checklist": func(b *board.Board) { b.Checklist.Enter = "changed"; b.Checklist.Set = nil },
		"booted":    func(b *board.Board) { b.Booted = append(b.Booted, board.Booted{Machine: "changed"}) },
		"untested":  func(b *board.Board) { b.Untested = append(b.Untested, "changed") },
	} {
		if dataOf(t, change) != plain {
			t.Errorf("%s: is hashed into the version of the image", name)
		}
	}
	for name, change := range map[string]func(*board.Board){
		"title":   func(b *board.Board) { b.Title = "changed" },
		"cmdline": func(b *board.Board) { b.Kernel.Cmdline = append(b.Kernel.Cmdline, "changed") },
		"prune":   func(b *board.Board) { b.Prune = append(b.Prune, "changed") },
		"raw":     func(b *board.Board) { b.Disk.Raw = []board.Raw{{File: "changed"}} },
	} {
		if dataOf(t, change) == plain {
			t.Errorf("%s: changes the image, and its version is the same", name)
		}
	}
}

// dataOf is the digest of a changed board, whose other copies stay as they were.
func dataOf(t *testing.T, change func(*board.Board)) string {
	t.Helper()
	b, err := board.Load("optiplex-7050", boards.FS)
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	before := *b
	p, err := newPlan(Options{Board: b, OverlayFS: overlays.FS})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*b, before) {
		t.Error("the board itself lost its notes")
	}
	return p.data
}

// TestArgumentsThatABIOSCannotHave: an overlay's are refused before anything is
// fetched.
func TestArgumentsThatABIOSCannotHave(t *testing.T) {
	quoting := fstest.MapFS{"quoting/overlay.yaml": {Data: []byte("version: 1\ndescription: quotes\ncmdline: ['a=\"b\"']\n")}}
	for bios, want := range map[bool]string{true: `board b: the kernel arguments <a="b"> cannot be told to GRUB`, false: ""} {
		_, err := newPlan(Options{Board: &board.Board{Name: "b", Arch: "amd64", Suite: "trixie", Overlays: []string{"quoting"}, BIOS: bios}, OverlayFS: quoting})
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v: %v, want %q", bios, err, want)
		}
	}
}
