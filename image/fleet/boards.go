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
func (f *Fleet) OwnBoards() string {
	if f.Boards == "" {
		return ""
	}
	return within(f.dir, f.Boards)
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

// boards lists the boards that nodes may have, nil if that is not to be checked.
func (c *checker) boards() []string {
	if c.fleet.builtin == nil {
		return nil
	}
	if own := c.fleet.OwnBoards(); own != "" {
		if info, err := os.Stat(own); err != nil || !info.IsDir() {
			c.Refuse([]string{"boards"}, "%q is no directory: name one with a file NAME.yaml for each board of your own", own)
		}
	}
	return board.Names(c.fleet.boardFiles()...)
}

// unknownBoard also helps users who have boards of their own.
func unknownBoard(name string, known []string) string {
	if near := nearest.Name(name, known); near != "" {
		return fmt.Sprintf("%q is no board (did you mean %q?)", name, near)
	}
	return fmt.Sprintf("%q is no board (known: %s); if it is one of your own, write below version: \"boards: DIR\", with the directory of its file", name, strings.Join(known, ", "))
}
