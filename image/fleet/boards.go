package fleet

import (
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
	"github.com/going-mobile/imagebuilder/image/board"
)

// OwnBoards is the directory with the fleet's own boards, "" if it has none.
func (f *Fleet) OwnBoards() string { return f.own(f.Boards) }

// OwnOverlays is the directory with the fleet's own overlays, "" if it has none.
func (f *Fleet) OwnOverlays() string { return f.own(f.Overlays) }

func (f *Fleet) own(dir string) string {
	if dir == "" {
		return ""
	}
	return within(f.dir, dir)
}

// OverlaysFor are the overlays of a node's disk image besides its board's.
func OverlaysFor(controls bool) []string {
	if controls {
		return []string{"headscale"}
	}
	return nil
}

// Board reads the board of a name: one of the fleet's own, or one that comes with imagebuilder.
func (f *Fleet) Board(name string) (*board.Board, error) {
	return board.Load(name, f.boardFiles()...)
}

func (f *Fleet) boardFiles() []fs.FS {
	if own := f.OwnBoards(); own != "" {
		return []fs.FS{board.Dir(own), f.builtin}
	}
	return []fs.FS{f.builtin}
}

// boards lists the boards that nodes may have, nil if that is not to be checked. It checks the
// directories of the fleet's own boards and overlays.
func (c *checker) boards() []string {
	if c.fleet.builtin == nil {
		return nil
	}
	c.ownFiles("boards", c.fleet.OwnBoards(), "a file NAME.yaml for each board")
	c.ownFiles("overlays", c.fleet.OwnOverlays(), "a directory NAME, with its overlay.yaml, for each overlay")
	return board.Names(c.fleet.boardFiles()...)
}

func (c *checker) ownFiles(field, dir, with string) {
	if info, err := os.Stat(dir); dir != "" && (err != nil || !info.IsDir()) {
		c.Refuse([]string{field}, "%q is no directory: name one with %s of your own", dir, with)
	}
}

// unknownBoard also helps users who have boards of their own.
func unknownBoard(name string, known []string) string {
	if near := nearest.Name(name, known); near != "" {
		return fmt.Sprintf("%q is no board (did you mean %q?)", name, near)
	}
	return fmt.Sprintf("%q is no board (known: %s); if it is one of your own, write below version: \"boards: DIR\", with the directory of its file", name, strings.Join(known, ", "))
}
