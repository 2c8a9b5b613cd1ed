package k3sdata

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var hashes = []string{strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64), strings.Repeat("d", 64)}

// machine is a machine with a directory of k3s' data.
type machine struct {
	t   *testing.T
	dir string
}

func newMachine(t *testing.T) *machine {
	return &machine{t: t, dir: filepath.Join(t.TempDir(), "data")}
}

// unpack does what k3s does for a version whose directory does not exist.
func (m *machine) unpack(hash string) {
	m.t.Helper()
	at := func(name ...string) string { return filepath.Join(append([]string{m.dir}, name...)...) }
	if _, err := os.Stat(at(hash)); err == nil {
		return
	}
	m.do(os.MkdirAll(at(hash, "bin"), 0o755))
	m.do(os.WriteFile(at(hash, "bin", "k3s"), []byte("k3s"), 0o755))
	if _, err := os.Lstat(at("current")); err == nil {
		m.do(os.Rename(at("current"), at("previous")))
	}
	m.do(os.Symlink(at(hash), at("current")))
	m.do(os.MkdirAll(at("cni"), 0o755))
	m.do(os.RemoveAll(at("cni", "flannel")))
	m.do(os.Symlink(at(hash, "bin", "cni"), at("cni", "flannel")))
	m.do(os.WriteFile(at("cni", "bandwidth"), nil, 0o755))
}

func (m *machine) do(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// boot starts the machine, and k3s of a version.
func (m *machine) boot(hash string) {
	m.t.Helper()
	m.start()
	m.unpack(hash)
}

func (m *machine) start() {
	m.t.Helper()
	m.do(Prune(m.dir, filepath.Join(m.t.TempDir(), "run", "k3s-data")))
}

// has requires these versions to exist, complete or not.
func (m *machine) has(hash ...string) {
	m.t.Helper()
	var got []string
	entries, err := os.ReadDir(m.dir)
	m.do(err)
	for _, e := range entries {
		if e.IsDir() && e.Name() != "cni" {
			got = append(got, e.Name())
		}
	}
	if !slices.Equal(got, hash) {
		m.t.Errorf("there are %v, want %v", got, hash)
	}
}

// TestAPowerCutAfterUnpacking: a version that was never marked is unpacked again at the next start
// of the machine, not at the next start of k3s; a marked version stays.
func TestAPowerCutAfterUnpacking(t *testing.T) {
	m := newMachine(t)
	m.boot(hashes[0])
	m.do(os.Truncate(filepath.Join(m.dir, hashes[0], "bin", "k3s"), 0)) // which a power cut leaves
	m.boot(hashes[0])
	if data, err := os.ReadFile(filepath.Join(m.dir, hashes[0], "bin", "k3s")); err != nil || string(data) != "k3s" {
		t.Errorf("k3s is %q, %v", data, err)
	}
	m.do(Mark(m.dir))
	m.do(os.WriteFile(filepath.Join(m.dir, hashes[0], "bin", "same"), nil, 0o644))
	m.boot(hashes[0])
	if _, err := os.Stat(filepath.Join(m.dir, hashes[0], "bin", "same")); err != nil {
		t.Errorf("what was whole was unpacked again: %v", err)
	}
}

// TestK3sStartsAgain: nothing is removed under pods that run.
func TestK3sStartsAgain(t *testing.T) {
	m := newMachine(t)
	done := filepath.Join(t.TempDir(), "run", "k3s-data")
	m.do(Prune(m.dir, done))
	m.unpack(hashes[0])
	m.do(Prune(m.dir, done))
	m.has(hashes[0])
}

// TestVersionsGo: the last two versions stay, also after a fallback, which changes no link.
func TestVersionsGo(t *testing.T) {
	m := newMachine(t)
	for _, hash := range hashes[:3] {
		m.boot(hash)
		m.do(Mark(m.dir))
	}
	m.start()
	m.has(hashes[1], hashes[2])
	m.boot(hashes[1]) // fallen back
	m.do(Mark(m.dir))
	m.start()
	m.has(hashes[1], hashes[2])
	m.boot(hashes[3])
	m.do(Mark(m.dir))
	m.start()
	m.has(hashes[2], hashes[3])
}

// TestAFallBackFromWhatNeverRan: the links to CNI's programs lead to the k3s that runs, and not to
// a version that is gone.
func TestAFallBackFromWhatNeverRan(t *testing.T) {
	m := newMachine(t)
	m.boot(hashes[0])
	m.do(Mark(m.dir))
	m.boot(hashes[1])
	m.boot(hashes[0])
	for _, link := range []string{"current", "cni/flannel"} {
		if target, err := os.Readlink(filepath.Join(m.dir, link)); err != nil || !strings.Contains(target, hashes[0]) {
			t.Errorf("%s leads to %s, %v", link, target, err)
		}
	}
	m.has(hashes[0])
}

// TestInterrupted: what a removal or k3s left incomplete is removed.
func TestInterrupted(t *testing.T) {
	m := newMachine(t)
	m.boot(hashes[0])
	m.do(Mark(m.dir))
	m.do(os.MkdirAll(filepath.Join(m.dir, hashes[1]+half, "bin"), 0o755))
	m.do(os.MkdirAll(filepath.Join(m.dir, "somebody's"), 0o755))
	m.start()
	m.has(hashes[0], "somebody's")
}

// TestNoK3sYet: at a first boot k3s has not unpacked anything.
func TestNoK3sYet(t *testing.T) {
	m := newMachine(t)
	m.start()
	if err := Mark(m.dir); !os.IsNotExist(err) {
		t.Error(err)
	}
}
