//go:build linux

package host_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/host"
)

func TestWhatIsMounted(t *testing.T) {
	disks := host.New("/", nil).Disks
	if on, err := disks.Mounted("/proc"); err != nil || on == nil || on.Lost || on.Failed {
		t.Errorf("/proc: %+v, %v", on, err)
	}
	if on, err := disks.Mounted(t.TempDir()); err != nil || on != nil {
		t.Errorf("a directory: %+v, %v", on, err)
	}
}

// Not even root writes where a disk belongs that is not there.
func TestAHeldPlaceTakesNothing(t *testing.T) {
	disks := host.New("/", nil).Disks
	dir := filepath.Join(t.TempDir(), "a", "place")
	if held, err := disks.Held(dir); held || err != nil {
		t.Errorf("before it is there: %v, %v", held, err)
	}
	err := disks.Hold(dir, true)
	if errors.Is(err, unix.EPERM) { // a container's root may not either
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	held, err := disks.Held(dir)
	if !held || err != nil || os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) == nil {
		t.Errorf("held: %v, %v, and may be written", held, err)
	}
	if err := disks.Hold(dir, false); err != nil {
		t.Fatal(err)
	}
	held, err = disks.Held(dir)
	if held || err != nil || os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) != nil {
		t.Errorf("free: %v, %v, and may not be written", held, err)
	}
}
