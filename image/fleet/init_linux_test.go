package fleet

import (
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestRootBeginsAFleetForItsOwner: with sudo, all files belong to the owner of the
// directory, who could not use them without sudo otherwise.
func TestRootBeginsAFleetForItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can give files away: run the tests as root")
	}
	home := t.TempDir()
	if err := os.Chown(home, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if err := Init(filepath.Join(home, "shed"), InitOptions{Name: "shed", Headscale: "https://hs.example.org"}, time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(home, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != 1000 {
			t.Errorf("%s is root's", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
