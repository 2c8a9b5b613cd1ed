//go:build unix

package atomicfile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func owner(t *testing.T, name string) [2]uint32 {
	t.Helper()
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	return [2]uint32{st.Uid, st.Gid}
}

// TestRootWritesForTheOwner of the directory, also where an earlier sudo left the file
// root's; in a directory of root's all stays root's, whosever file it was.
func TestRootWritesForTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can give files away: run the tests as root")
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
			if got := owner(t, name); got != want {
				t.Errorf("%s in a directory of %d, before of %d: is %v's, want %v", filepath.Base(name), c.dir, c.file, got, want)
			}
			if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", fi.Mode(), err)
			}
		}
	}
}

// TestRootMakesDirectoriesForTheOwner of the one in which they begin, and of no other that
// is there already.
func TestRootMakesDirectoriesForTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can give files away: run the tests as root")
	}
	for _, uid := range []int{1000, 0} {
		dir := t.TempDir()
		there := filepath.Join(dir, "there")
		if err := os.Mkdir(there, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
		if err := MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
			t.Fatal(err)
		}
		temp, err := MkdirTemp(filepath.Join(dir, "a"), "temp-")
		if err != nil {
			t.Fatal(err)
		}
		if err := MkdirAll(there, 0o700); err != nil {
			t.Fatal(err)
		}
		want := [2]uint32{uint32(uid), uint32(uid)}
		for name, want := range map[string][2]uint32{filepath.Join(dir, "a"): want, filepath.Join(dir, "a", "b"): want, temp: want, there: {0, 0}} {
			if got := owner(t, name); got != want {
				t.Errorf("%s is %v's, want %v", name, got, want)
			}
		}
		if fi, err := os.Stat(filepath.Join(dir, "a", "b")); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", fi, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(file, "x"), 0o755); err == nil {
		t.Error("a file is a directory")
	}
}

// TestNobodysLinkIsGivenAway: what was put in a directory's place stays its owner's.
func TestNobodysLinkIsGivenAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can give files away: run the tests as root")
	}
	dir, other := t.TempDir(), t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if inheritDir(link); owner(t, other) != [2]uint32{0, 0} {
		t.Error("it was given away")
	}
}
