package image

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/going-mobile/imagebuilder/image/apt"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/lock"
)

// TestALockHasWhatIsAskedFor: by name, and by version or suite where one was said. What
// the lock has in its place is no answer.
func TestALockHasWhatIsAskedFor(t *testing.T) {
	locked := []*apt.Package{
		{Name: "htop", Version: "3.4.0-2", Suite: "trixie"},
		{Name: "linux-base", Version: "4.12", Suite: "trixie"},
	}
	for want, refused := range map[string]string{
		"htop":                        "",
		"htop:amd64":                  "",
		"htop=3.4.0-2":                "",
		"htop/trixie":                 "",
		"htop=3.4.1-5":                "the lock has htop 3.4.0-2 of trixie, the board, an overlay or --package asks for htop=3.4.1-5; build once without --lock",
		"htop/sid":                    "the lock has htop 3.4.0-2 of trixie, the board, an overlay or --package asks for htop/sid; build once without --lock",
		"linux-base/trixie-backports": "asks for linux-base/trixie-backports",
		"hto":                         "the lock has no package hto, which",
		"htop=":                       "htop=: ",
	} {
		p := &plan{opt: Options{Board: &board.Board{Arch: "amd64"}}, packages: []string{"htop", want}}
		err := p.coveredByLock(locked)
		if (err == nil) != (refused == "") || err != nil && !strings.Contains(err.Error(), refused) {
			t.Errorf("%s: %v, want %q", want, err, refused)
		}
	}
}

// TestASnapshotIsAskedAgain: two builds of one hour ask the snapshot archive at the same
// addresses, so that the second gets from the cache what has not changed. A lock's snapshot is
// that of its time.
func TestASnapshotIsAskedAgain(t *testing.T) {
	at := time.Date(2026, 11, 21, 6, 10, 46, 0, time.UTC)
	snapshot := func(now time.Time, l *lock.Lock) string {
		t.Helper()
		p := &plan{opt: Options{Board: &board.Board{Arch: "amd64", Suite: "trixie"}, Now: now, Lock: l}}
		m, _ := p.mirrors()
		return m.Archive[len(m.Archive)-1]
	}
	for now, want := range map[time.Time]string{at: "20261121T060000Z", at.Add(50 * time.Minute): "20261121T060000Z", at.Add(6 * time.Hour): "20261121T120000Z"} {
		if got := snapshot(now, nil); !strings.HasSuffix(got, "/debian/"+want+"/") {
			t.Errorf("%s: %s, want %s", now, got, want)
		}
	}
	if got := snapshot(at, &lock.Lock{Timestamp: at.Add(-time.Minute)}); !strings.HasSuffix(got, "/20261121T060946Z/") {
		t.Errorf("of a lock: %s", got)
	}
}

// TestALockKnowsItsOverlays: an image without the overlay that the lock was made with would
// be a different one. Locks from before they had the list are taken as they were.
func TestALockKnowsItsOverlays(t *testing.T) {
	fsys := fstest.MapFS{}
	for _, name := range []string{"base", "own", "other"} {
		fsys[name+"/overlay.yaml"] = &fstest.MapFile{Data: []byte("version: 1\ndescription: x\n")}
	}
	for _, c := range []struct {
		locked, given []string
		want          string
	}{
		{nil, []string{"own"}, ""},
		{[]string{}, nil, ""},
		{[]string{}, []string{"base"}, ""}, // the board has it anyway
		{[]string{"own"}, []string{"own"}, ""},
		{[]string{"other", "own"}, []string{"own", "other"}, ""},
		{[]string{"own"}, nil, "the lock was made with the overlay own, which is not asked for: add it to the board's overlays, or use 'imagebuilder build --overlay own';"},
		{[]string{"own"}, []string{"own", "other"}, "the lock was made without the overlay other, which is asked for;"},
	} {
		b := &board.Board{Name: "b", Arch: "amd64", Suite: "trixie", Overlays: []string{"base"}}
		l := &lock.Lock{Board: "b", Arch: "amd64", Overlays: c.locked}
		p, err := newPlan(Options{Board: b, OverlayFS: fsys, Overlays: c.given, Lock: l})
		if err != nil {
			t.Fatal(err)
		}
		p.packages = nil
		in := &inputs{}
		err = p.fromLock(t.Context(), in, apt.Mirrors{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q with %q: %v, want %q", c.locked, c.given, err, c.want)
		}
		if got := p.extraOverlays(); got == nil || slices.Contains(got, "base") {
			t.Errorf("a lock has the overlays %#v", got)
		}
	}
}

// TestAFullDiskIsNoWordOnALock: that the index which a lock names cannot be kept is told
// as that. A lock whose index nobody has any more is taken at its word.
func TestAFullDiskIsNoWordOnALock(t *testing.T) {
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("text")) }))
	defer mirror.Close()
	dir := t.TempDir()
	cache, err := fetch.OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	tmp := filepath.Join(dir, "tmp") // where nothing can be written, not even by root
	if err := os.Remove(tmp); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tmp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &plan{opt: Options{Board: &board.Board{Arch: "amd64"}, Cache: cache}}
	in := &inputs{lock: &lock.Lock{Arch: "amd64", Suites: []lock.Suite{{Name: "trixie", Date: time.Now(), InReleaseSHA256: strings.Repeat("a", 64), Components: []string{"main"}}}}}
	if err := p.checkLock(t.Context(), in, apt.Mirrors{Archive: []string{mirror.URL}}); err == nil || in.hostWarnings != nil || strings.Contains(err.Error(), "lock does not hold") {
		t.Errorf("%v, told %q", err, in.hostWarnings)
	}
}
