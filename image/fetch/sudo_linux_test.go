package fetch

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/going-mobile/imagebuilder/image/flock/flocktest"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// TestWhatSudoLeftIsInNobodysWay: root was interrupted in a user's cache. What it had begun
// to download, and its lock, are root's; the user begins anew.
func TestWhatSudoLeftIsInNobodysWay(t *testing.T) {
	data, sum := blob(1000)
	s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
	dir := flocktest.UsersDir(t)
	testCache(t, dir).Close() // all of its directories are the user's
	for name, text := range map[string]string{
		filepath.Join(tmpDir, lockName(Downloads, sum)):  string(data[:500]),
		filepath.Join(lockDir, lockName(Downloads, sum)): "",
		filepath.Join(tmpDir, lockName("deb", "some")):   "text",
		filepath.Join(lockDir, lockName("deb", "some")):  "",
		filepath.Join(lockDir, lockName("deb", "other")): "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	flocktest.BeUser(t)
	if f, err := os.OpenFile(filepath.Join(dir, tmpDir, lockName(Downloads, sum)), os.O_RDWR, 0); err == nil {
		f.Close()
		t.Fatal("this test is root for files still")
	}
	c := testCache(t, dir)
	f, err := c.Get(t.Context(), Request{Name: "it", URLs: []string{s.URL}, SHA256: sum, Size: int64(len(data))}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(); err != nil {
		t.Error(err)
	}
	for _, d := range []string{tmpDir, lockDir} {
		if left, err := os.ReadDir(filepath.Join(dir, d)); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", d, left, err)
		}
	}
}
