package initramfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// TestATrialThatTheLoaderDidNotCount is still a trial, and is counted.
func TestATrialThatTheLoaderDidNotCount(t *testing.T) {
	const good, trial = slot.EFIDir + "/imagebuilder-1-a.efi", slot.EFIDir + "/imagebuilder-2-b+3.efi"
	for name, c := range map[string]struct {
		slot  string
		full  error // of the mount for writing
		trial bool
		left  string
	}{
		"the trial":              {"b", nil, true, "imagebuilder-2-b+2-1.efi"},
		"the good slot":          {"a", nil, false, "imagebuilder-2-b+3.efi"},
		"it cannot be counted":   {"b", errors.New("read-only"), true, "imagebuilder-2-b+3.efi"},
		"the partition is empty": {"b", nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range []string{good, trial} {
				if err := errors.Join(os.MkdirAll(filepath.Join(dir, slot.EFIDir), 0o755), os.WriteFile(filepath.Join(dir, file), []byte("kernel"), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			if c.left == "" {
				os.RemoveAll(filepath.Join(dir, slot.EFIDir))
			}
			m := &machine{con: &console{}, args: contract.Args{Slot: c.slot, SlotSize: 1 << 30}}
			m.askNames(func(flags uintptr, do func(string) error) error {
				if flags&unix.MS_RDONLY == 0 && c.full != nil {
					return c.full
				}
				return do(dir)
			})
			if m.state.Trial != c.trial {
				t.Errorf("trial: %v", m.state.Trial)
			}
			if _, err := os.Stat(filepath.Join(dir, slot.EFIDir, c.left)); err != nil && c.left != "" {
				t.Error(err)
			}
		})
	}
}

// TestAFailureBeforeTheDisk: if a start fails before the loader was asked, onTrial asks it, once.
func TestAFailureBeforeTheDisk(t *testing.T) {
	for name, c := range map[string]struct {
		told, arg, want bool
	}{"systemd-boot": {told: true, want: true}, "U-Boot, GRUB": {arg: true, want: true}, "no trial": {}} {
		asked := 0
		m := &machine{args: contract.Args{Trial: c.arg}, ask: func() loader { asked++; return loader{trial: c.told} }}
		first := m.onTrial()
		if again := m.onTrial(); first != c.want || again != c.want || asked != 1 {
			t.Errorf("%s: %v, then %v, asked %d times", name, first, again, asked)
		}
	}
	m := &machine{ask: func() loader { t.Error("asked again"); return loader{} }, asked: true, state: contract.State{Trial: true}}
	if !m.onTrial() { // as the file names say
		t.Error("the trial is forgotten")
	}
}

// TestUnitsFindTheTrial: units check for a file.
func TestUnitsFindTheTrial(t *testing.T) {
	for _, trial := range []bool{true, false} {
		root := t.TempDir()
		if err := writeState(root, contract.State{Slot: "b", Trial: trial}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(root, contract.StateFile))
		if s, err2 := contract.ParseState(data); errors.Join(err, err2) != nil || s.Trial != trial {
			t.Errorf("%+v, %v, %v", s, err, err2)
		}
		if _, err := os.Stat(filepath.Join(root, contract.TrialMark)); (err == nil) != trial {
			t.Errorf("trial %v: %v", trial, err)
		}
	}
}
