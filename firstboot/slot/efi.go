package slot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/dirsync"
)

// Where systemd-boot looks for what it can start, on the EFI system partition.
const (
	// EFIDir holds unified kernel images (UAPI.1, Type #2).
	EFIDir = "EFI/Linux"
	// EntryDir holds boot loader entries (UAPI.1, Type #1): text files that name a kernel and an
	// initramfs. These lie in a directory named after the slot.
	EntryDir = "loader/entries"
)

// EFIName is the file name of what starts a slot: a unified kernel image or an entry. systemd-boot
// shows the highest generation first, since all of our files share one sort key and carry no
// version. At every start it counts Left down and Done up, and it moves a file with no tries left
// behind all others (https://systemd.io/AUTOMATIC_BOOT_ASSESSMENT).
type EFIName struct {
	Generation int
	Slot       string
	// Entry is true for an entry, false for a unified kernel image.
	Entry bool
	// Counted is true for a slot on trial.
	Counted    bool
	Left, Done int
}

// String is the name: imagebuilder-2-b+3.efi, imagebuilder-2-b+2-1.efi, and
// imagebuilder-2-b.efi once it is good; .conf for entries.
func (n EFIName) String() string {
	name := fmt.Sprintf("imagebuilder-%d-%s", n.Generation, n.Slot)
	if n.Counted {
		name += "+" + strconv.Itoa(n.Left)
		if n.Done > 0 {
			name += "-" + strconv.Itoa(n.Done)
		}
	}
	if n.Entry {
		return name + ".conf"
	}
	return name + ".efi"
}

// Path is where the file lies on the EFI system partition.
func (n EFIName) Path() string {
	if n.Entry {
		return EntryDir + "/" + n.String()
	}
	return EFIDir + "/" + n.String()
}

// FAT and firmware may change the case of letters.
var efiPattern = regexp.MustCompile(`(?i)^imagebuilder-([0-9]{1,9})-([ab])(?:\+([0-9]{1,9})(?:-([0-9]{1,9}))?)?\.(efi|conf)$`)

// ParseEFIName reads a file name. It reports false for a file that is not ours.
func ParseEFIName(name string) (EFIName, bool) {
	m := efiPattern.FindStringSubmatch(name)
	if m == nil {
		return EFIName{}, false
	}
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	return EFIName{
		Generation: number(m[1]), Slot: strings.ToLower(m[2]), Entry: strings.EqualFold(m[5], "conf"),
		Counted: m[3] != "", Left: number(m[3]), Done: number(m[4]),
	}, true
}

// efi keeps the state in file names on the EFI system partition, which is mounted at dir.
type efi struct{ dir string }

// entry is a file of a slot.
type entry struct {
	EFIName
	file string // as the directory spells it
}

// outranks says which of two files of a slot starts it: the one of the higher generation. A power
// cut during a rename may leave two files of one generation: then it is the one with the later
// name, which has been counted once more, or is good.
func (n EFIName) outranks(o EFIName) bool {
	switch {
	case n.Generation != o.Generation:
		return n.Generation > o.Generation
	case n.Counted != o.Counted:
		return o.Counted
	}
	return n.Left < o.Left
}

// newest returns the file that starts each slot: the one of the highest generation, of either kind,
// since an update may bring the other kind. It skips empty files, which a power cut during a rename
// leaves: no boot loader starts one, whatever its name says.
func (e efi) newest() (map[string]entry, error) {
	found := map[string]entry{}
	for _, dir := range []string{EFIDir, EntryDir} {
		files, err := os.ReadDir(filepath.Join(e.dir, filepath.FromSlash(dir)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the slots: %w", err)
		}
		for _, f := range files {
			n, ok := ParseEFIName(f.Name())
			if !ok || path.Dir(n.Path()) != dir { // systemd-boot looks for no such file in this directory
				continue
			}
			info, err := f.Info()
			if err != nil {
				return nil, fmt.Errorf("read the slots: %w", err)
			}
			if have, dup := found[n.Slot]; info.Size() > 0 && (!dup || n.outranks(have.EFIName)) {
				found[n.Slot] = entry{n, f.Name()}
			}
		}
	}
	return found, nil
}

func (e efi) state(running string) (State, error) {
	found, err := e.newest()
	if err != nil {
		return State{}, err
	}
	st := State{Current: running}
	if n, ok := found[running]; ok {
		st.File = path.Join(path.Dir(n.Path()), n.file)
	}
	var best entry
	for _, name := range contract.Slots {
		n, ok := found[name]
		switch {
		case ok && n.Counted:
			st.Trial, st.Tries = name, max(0, n.Left-e.counted(n.EFIName))
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
	other := found[Other(name)]
	switch {
	case n.Counted:
		n.Counted = false
	case other.Counted || other.file == "":
		return e.settle(other)
	case n.Generation > other.Generation:
		return nil
	default: // GRUB could not start the other slot, or a person chose this one in the menu
		n.Generation = other.Generation + 1
	}
	return e.rename(n)
}

// withdrawTrial gives a slot that was about to be tried the name that it had before: generation 0,
// no tries left. A second file of the same content, which rename may leave, gets another name, so
// that neither is overwritten.
func (e efi) withdrawTrial(name string) error {
	for again := false; ; again = true {
		found, err := e.newest()
		n := found[name]
		if err != nil || !n.Counted || n.Left == 0 {
			return err
		}
		n.Generation, n.Counted, n.Left = 0, again, 0
		if err := e.rename(n); err != nil {
			return err
		}
	}
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
	if err := e.forgetCount(); err != nil {
		return err
	}
	return e.rename(n)
}

// Count takes one try from a slot on trial, on the boot partition at dir. It does what systemd-boot
// could not: systemd-boot also starts a file that it cannot rename.
func Count(dir, name string) error {
	e := efi{dir}
	found, err := e.newest()
	if err != nil {
		return err
	}
	n := found[name]
	if !n.Counted || n.Left == 0 {
		return nil
	}
	n.Left, n.Done = n.Left-1, n.Done+1
	return e.rename(n)
}

// rename gives a file the name that n now stands for. FAT does that in three writes (Linux 6.12,
// vfat_rename). A power cut leaves the old name and an empty file of the new name, or two names for
// one content, until fsck.fat, before the next mount, empties one of them. Either name is valid,
// and newest takes the one with content. A file that may share its clusters with another one is
// neither removed nor overwritten here: that would free the other file's clusters.
func (e efi) rename(n entry) error {
	dir := filepath.Join(e.dir, filepath.FromSlash(path.Dir(n.Path())))
	if err := os.Rename(filepath.Join(dir, n.file), filepath.Join(dir, n.String())); err != nil {
		return fmt.Errorf("change the state of a slot: %w", err)
	}
	return dirsync.Dir(dir)
}
