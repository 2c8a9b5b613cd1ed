package squashfs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTwistedDirectories: listings that a kernel would follow out of their
// directory, or to the same one twice, are refused. mksquashfs can leave its
// tables uncompressed, so a name or a reference is changed in place.
func TestTwistedDirectories(t *testing.T) {
	good := plainTables(t)
	for _, c := range []struct {
		name  string
		twist func([]byte)
		want  string
	}{
		{"the parent", func(b []byte) { rename(b, "zz", "..") }, `entry ".."`},
		{"a path", func(b []byte) { rename(b, "zzz", "z/z") }, `entry "z/z"`},
		{"one directory twice", func(b []byte) {
			copy(entryOf(b, "twin-b")[:2], entryOf(b, "twin-a")[:2]) // the inode's offset
			copy(entryOf(b, "twin-b")[2:4], entryOf(b, "twin-a")[2:4])
		}, "is the directory /twin-a again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.Clone(good)
			c.twist(b)
			if bytes.Equal(b, good) {
				t.Fatal("nothing was changed")
			}
			r, err := Open(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Tree(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func plainTables(t *testing.T) []byte {
	src := filepath.Join(t.TempDir(), "src")
	for _, dir := range []string{"twin-a", "twin-b", "up/zz", "way/zzz"} {
		if err := os.MkdirAll(filepath.Join(src, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "image")
	run(t, "mksquashfs", src, name, "-quiet", "-no-progress", "-noI", "-noD", "-comp", "gzip")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// entryOf returns the directory entry of a name: offset, difference of the
// inode number, type and length of the name less one, two bytes each.
func entryOf(b []byte, name string) []byte {
	at := bytes.Index(b, append([]byte{byte(len(name) - 1), 0}, name...))
	return b[at-6 : at+2+len(name)]
}

func rename(b []byte, from, to string) { copy(entryOf(b, from)[8:], to) }
