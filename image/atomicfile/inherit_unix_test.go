//go:build unix

package atomicfile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestRootWritesForTheOwner of the directory, also where an earlier sudo left the file
// root's; in a directory of root's all stays root's, whosever file it was.
func TestRootWritesForTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can give files away: run the tests as root")
	}
	owner := func(name string) [2]uint32 {
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		st := fi.Sys().(*syscall.Stat_t)
		return [2]uint32{st.Uid, st.Gid}
	}
	for _, c := range []struct{ dir, file int }{{1000, 0}, {1000, 1001}, {0, 1000}, {0, 0}} {
		dir := t.TempDir()
		name := filepath.Join(dir, "keys.json")
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(name, c.file, c.file); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, c.dir, c.dir+7); err != nil {
			t.Fatal(err)
		}
		fresh := filepath.Join(dir, "new")
		for _, name := range []string{name, fresh} {
			if err := WriteFile(name, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			want := [2]uint32{uint32(c.dir), uint32(c.dir + 7)}
			if c.dir == 0 {
				want = [2]uint32{uint32(os.Geteuid()), uint32(os.Getegid())}
			}
			if got := owner(name); got != want {
				t.Errorf("%s in a directory of %d, before of %d: is %v's, want %v", filepath.Base(name), c.dir, c.file, got, want)
			}
			if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", fi.Mode(), err)
			}
		}
	}
}
