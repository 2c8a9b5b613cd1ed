package fat

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

// counted counts the writes to a volume.
type counted struct {
	*os.File
	writes []int
}

func (c *counted) WriteAt(b []byte, off int64) (int, error) {
	c.writes = append(c.writes, len(b))
	return c.File.WriteAt(b, off)
}

// TestTouch: other programs find the file, and fsck.fat finds no fault. Only one sector
// changes; a deleted entry is used first; everything else on the volume stays as it is.
func TestTouch(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		name := image(t, bootTree(t), options(MinSize))
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if deleted {
			mustTool(t, "mcopy", "-i", name, "touch.go", "::gone.txt")
			mustTool(t, "mcopy", "-i", name, "touch.go", "::stays.txt")
			mustTool(t, "mdel", "-i", name, "::gone.txt")
		}
		rw := &counted{File: f}
		for range 2 {
			if err := Touch(rw, "repair.txt", time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)); err != nil {
				t.Fatal(err)
			}
		}
		if len(rw.writes) != 1 || rw.writes[0] != sectorSize {
			t.Errorf("it wrote %d", rw.writes)
		}
		fsck(t, name)
		if out := mustTool(t, "mdir", "-b", "-i", name); strings.Count(out, "::/repair.txt\n") != 1 || deleted != strings.Contains(out, "stays.txt") {
			t.Errorf("mdir: %s", out)
		}
		if b, err := open(t, name).ReadFile("REPAIR.TXT", 1); err != nil || len(b) > 0 {
			t.Errorf("%q, %v", b, err)
		}
	}
}

// TestTouchRefuses what it cannot do without changing more.
func TestTouchRefuses(t *testing.T) {
	name := image(t, bootTree(t), options(MinSize))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	root := open(t, name).g.rootCluster
	g := open(t, name).g
	dir := b[g.offset(root):][:g.clusterSize()]
	end := bytes.Index(dir, make([]byte, dirEntrySize)) / dirEntrySize * dirEntrySize
	for off := end + dirEntrySize; off < len(dir); off++ {
		dir[off] = 'X' // what an end that is not zero leaves behind it
	}
	dir[end] = 0
	for what, test := range map[string]struct{ name, want string }{"a long name": {"repair-it.txt", "invalid"}, "behind the end": {"repair.txt", "full"}} {
		v := bytes.Clone(b)
		err := Touch(memory(v), test.name, time.Time{})
		var path *fs.PathError
		if !errors.As(err, &path) || !strings.Contains(err.Error(), test.want) || !bytes.Equal(v, b) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
