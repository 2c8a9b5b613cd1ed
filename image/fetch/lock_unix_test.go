//go:build unix

package fetch

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestTheLockIsNobodyElsesFile: what root makes is the directory's owner's; what a link in
// its place leads to is not given away.
func TestTheLockIsNobodyElsesFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can give files away: run the tests as root")
	}
	dir, precious := t.TempDir(), filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	owner := func(name string) uint32 {
		t.Helper()
		c, err := OpenCache(dir)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return fi.Sys().(*syscall.Stat_t).Uid
	}
	lock := filepath.Join(dir, ".lock")
	if got := owner(lock); got != 1000 {
		t.Errorf("the lock is %d's", got)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, lock); err != nil {
		t.Fatal(err)
	}
	if got := owner(precious); got != 0 {
		t.Errorf("a file elsewhere is %d's now", got)
	}
}
