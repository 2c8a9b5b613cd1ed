package lab

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTheMarkGoesLast: if the removal of a lab is killed at any point, what is left still
// counts as a lab's.
func TestTheMarkGoesLast(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	if err := Claim(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "fleet.yaml", "machines", "zz"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gone := deleted(t, dir, func() {
		if err := Remove(dir); err != nil {
			t.Fatal(err)
		}
	})
	if len(gone) != 5 || gone[4] != stateFile || slices.Contains(gone[:4], stateFile) {
		t.Errorf("gone in the order %q", gone)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// deleted lists what is deleted from a directory, in order (inotify(7)).
func deleted(t *testing.T, dir string, do func()) (names []string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	do()
	events := make([]byte, 64<<10)
	n, err := unix.Read(fd, events)
	if err != nil {
		t.Fatal(err)
	}
	for events = events[:n]; len(events) > 0; {
		name := events[unix.SizeofInotifyEvent:][:binary.NativeEndian.Uint32(events[12:])]
		if text := strings.TrimRight(string(name), "\x00"); text != "" { // "" is the directory itself
			names = append(names, text)
		}
		events = events[unix.SizeofInotifyEvent+len(name):]
	}
	return names
}
