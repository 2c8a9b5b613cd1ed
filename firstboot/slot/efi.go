package slot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// EFIDir is where systemd-boot looks for unified kernel images, on the EFI
// system partition.
const EFIDir = "EFI/Linux"

// EFIName is the file name of a slot's unified kernel image. systemd-boot
// shows the highest generation first, as all images share one sort key and
// carry no version; it counts Left down and Done up at every start, and moves
// an image with nothing left behind all others
// (https://systemd.io/AUTOMATIC_BOOT_ASSESSMENT).
type EFIName struct {
	Generation int
	Slot       string
	// Counted is true for a slot on trial.
	Counted    bool
	Left, Done int
}

// String is the name: imagebuilder-2-b+3.efi, imagebuilder-2-b+2-1.efi, and
// imagebuilder-2-b.efi once it is good.
func (n EFIName) String() string {
	name := fmt.Sprintf("imagebuilder-%d-%s", n.Generation, n.Slot)
	if n.Counted {
		name += "+" + strconv.Itoa(n.Left)
		if n.Done > 0 {
			name += "-" + strconv.Itoa(n.Done)
		}
	}
	return name + ".efi"
}

// FAT and firmware may have changed the case of letters.
var efiPattern = regexp.MustCompile(`(?i)^imagebuilder-([0-9]{1,9})-([ab])(?:\+([0-9]{1,9})(?:-([0-9]{1,9}))?)?\.efi$`)

// ParseEFIName reads a file name. It reports false for files of others.
func ParseEFIName(name string) (EFIName, bool) {
	m := efiPattern.FindStringSubmatch(name)
	if m == nil {
		return EFIName{}, false
	}
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	slot := m[2]
	if slot == "A" || slot == "B" {
		slot = string(slot[0] | 0x20)
	}
	return EFIName{Generation: number(m[1]), Slot: slot, Counted: m[3] != "", Left: number(m[3]), Done: number(m[4])}, true
}

// efi keeps the state in the names of a directory's files.
type efi struct{ dir string }

// entry is a file of a slot.
type entry struct {
	EFIName
	file string
}

// newest returns the entry of highest generation per slot.
func (e efi) newest() (map[string]entry, error) {
	files, err := os.ReadDir(e.dir)
	if err != nil {
		return nil, fmt.Errorf("read the slots: %w", err)
	}
	found := map[string]entry{}
	for _, f := range files {
		n, ok := ParseEFIName(f.Name())
		if have, dup := found[n.Slot]; !ok || dup && have.Generation >= n.Generation {
			continue
		}
		found[n.Slot] = entry{n, f.Name()}
	}
	return found, nil
}

func (e efi) state() (State, error) {
	found, err := e.newest()
	if err != nil {
		return State{}, err
	}
	var st State
	var best entry
	for _, name := range contract.Slots {
		n, ok := found[name]
		switch {
		case ok && n.Counted:
			st.Trial, st.Tries = name, n.Left
		case ok && n.Generation > best.Generation:
			st.Good, best = name, n
		}
	}
	return st, nil
}

func (e efi) markGood(name string) error {
	found, err := e.newest()
	if err != nil {
		return err
	}
	n, ok := found[name]
	if !ok {
		return fmt.Errorf("%s has no kernel of the running slot %s", e.dir, name)
	}
	if !n.Counted {
		return nil
	}
	n.Counted = false
	return e.rename(n.file, n.String())
}

func (e efi) startTrial(name string, tries int) error {
	found, err := e.newest()
	if err != nil {
		return err
	}
	n, ok := found[name]
	if !ok {
		return fmt.Errorf("%s has no kernel for slot %s: nothing was installed there", e.dir, name)
	}
	if other := found[Other(name)]; other.file == "" || other.Counted {
		return fmt.Errorf("slot %s could not fall back: slot %s is not good", name, Other(name))
	}
	n.Generation = max(found["a"].Generation, found["b"].Generation) + 1
	n.Counted, n.Left, n.Done = true, tries, 0
	return e.rename(n.file, n.String())
}

// rename is as atomic as FAT allows: both names lie in one directory, mostly
// in one sector, and the content does not move. Whatever of the two names
// survives a power cut is valid.
func (e efi) rename(from, to string) error {
	if err := os.Rename(filepath.Join(e.dir, from), filepath.Join(e.dir, to)); err != nil {
		return fmt.Errorf("change the state of a slot: %w", err)
	}
	return syncDir(e.dir)
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // directories cannot be synced there, nor do nodes run it
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
