package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/boards"
)

// TestBoardsOfOnesOwn: nodes may have them, they are found beside the fleet file wherever the
// program runs, and come before those of imagebuilder. A rehearsal has boards of the lab's
// choosing.
func TestBoardsOfOnesOwn(t *testing.T) {
	text := strings.NewReplacer("version: 1\n", "version: 1\nboards: mine\n", "home-box: {board: optiplex-7050", "home-box: {board: nuc8").Replace(string(Example))
	name := directory(t, text)
	for _, own := range []string{"nuc8", "rpi4"} {
		write(t, filepath.Join(filepath.Dir(name), "mine", own+".yaml"), strings.NewReplacer("name: optiplex-7050", "name: "+own, "title: Dell OptiPlex 7050", "title: Mine").Replace(builtin(t, "optiplex-7050")))
	}
	f, err := LoadFile(name, known)
	if err != nil {
		t.Fatal(err)
	}
	for board, title := range map[string]string{"nuc8": "Mine", "rpi4": "Mine", "generic-amd64": "Generic"} {
		if b, err := f.Board(board); err != nil || b.Name != board || (title == "Mine") != strings.HasPrefix(b.Title, "Mine") {
			t.Errorf("%s: %+v, %v", board, b, err)
		}
	}
	if c, err := f.Config("home-box"); err != nil || c.Board != "nuc8" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := LoadFile(directory(t, strings.Replace(text, "board: nuc8", "board: nuk8", 1)), known); err == nil || !strings.Contains(err.Error(), "mine") {
		t.Error("a directory that is not there:", err)
	}
	if got := load(t, string(Example)).OwnBoards(); got != "" {
		t.Errorf("a fleet without has %q", got)
	}
}

// TestOverlaysOfOnesOwn: their directory is beside the fleet file, and must be there.
func TestOverlaysOfOnesOwn(t *testing.T) {
	text := strings.Replace(string(Example), "version: 1\n", "version: 1\noverlays: ours\n", 1)
	name := directory(t, text)
	ours := filepath.Join(filepath.Dir(name), "ours")
	if _, err := LoadFile(name, known); err == nil || !strings.Contains(err.Error(), `field "overlays"`) || !strings.Contains(err.Error(), "is no directory") {
		t.Error("a directory that is not there:", err)
	}
	write(t, filepath.Join(ours, "o", "overlay.yaml"), "")
	if f, err := LoadFile(name, known); err != nil || f.OwnOverlays() != ours {
		t.Errorf("%v: %q", err, f.OwnOverlays())
	}
	if got := load(t, string(Example)).OwnOverlays(); got != "" {
		t.Errorf("a fleet without has %q", got)
	}
}

func builtin(t *testing.T, board string) string {
	t.Helper()
	text, err := boards.FS.ReadFile(board + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
