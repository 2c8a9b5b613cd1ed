// Package slot reads and changes which of the two slots a node starts from. The state lives on the
// boot partition, where the boot loader can read and change it too: in file names that systemd-boot
// counts down on UEFI, with a file beside them in which GRUB counts on a BIOS; in small environment
// files of U-Boot on the Raspberry Pi.
//
// A slot is good, or on trial with a number of tries, or spent. If nobody marks a trial good in
// time, the boot loader falls back to the good slot by itself: nothing here has to run for that.
// The package writes no kernel and no root file system. It refuses to try a slot whose kernel is
// missing.
package slot

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// State is what is known about the slots.
type State struct {
	// Current is the slot that is running.
	Current string
	// Good is the slot that starts when no trial is under way.
	Good string
	// Trial is the slot on trial, "" without one. It is the running one or
	// one that starts next.
	Trial string
	// Tries are left for Trial; 0 means that it is spent and Good starts.
	Tries int
	// File is what starts the running slot, as a path from the boot partition's root where
	// systemd-boot looks for it; "" where there is no such file, or U-Boot starts the slot.
	File string
}

// OnTrial reports whether the running slot still has to prove itself.
func (s State) OnTrial() bool { return s.Trial == s.Current && s.Good != s.Current }

// Leaves reports whether the next start is that of the other slot, which is on trial.
func (s State) Leaves() bool { return s.Trial != "" && s.Trial != s.Current && s.Tries > 0 }

// Store is the slot state on a mounted boot partition.
type Store struct {
	current string
	loader  loader
}

// loader is one way to keep the state.
type loader interface {
	state(running string) (State, error)
	markGood(slot string) error
	startTrial(slot string, tries int) error
	withdrawTrial(slot string) error
	// kits are the sets of Files that the boot loader can start.
	kits() [][]string
}

// Open returns the store on the boot partition mounted at dir, such as
// /boot/firmware. cmdline is the content of /proc/cmdline, which names the
// running slot.
func Open(dir, cmdline string) (*Store, error) {
	args, err := contract.ParseArgs(cmdline)
	if err != nil {
		return nil, err
	}
	s := &Store{current: args.Slot}
	switch {
	case exists(filepath.Join(dir, EFIDir)), exists(filepath.Join(dir, EntryDir)):
		s.loader = efi{dir: dir}
	case exists(filepath.Join(dir, ScriptFile)):
		s.loader = uboot{dir: dir}
	default:
		return nil, fmt.Errorf("%s is not a boot partition of ours: it has neither %s nor %s nor %s; is it mounted?", dir, EFIDir, EntryDir, ScriptFile)
	}
	return s, nil
}

// Other returns the other one of the two slots.
func Other(name string) string {
	if name == "a" {
		return "b"
	}
	return "a"
}

// Current returns the state of the slots.
func (s *Store) Current() (State, error) { return s.loader.state(s.current) }

// Takes refuses a set of Files that the node's boot loader cannot start.
func (s *Store) Takes(files []string) error {
	kits := s.loader.kits()
	for _, kit := range kits {
		if slices.Equal(kit, files) {
			return nil
		}
	}
	return fmt.Errorf("this node's boot loader starts a slot by %s, and not by %s", strings.Join(kits[0], ", "), strings.Join(files, ", "))
}

// MarkGood ends the trial of the running slot successfully. If the running slot is good already, a
// trial of the other slot that is about to start stays, and one whose tries GRUB has used up is
// recorded as spent for every boot loader. If the running slot is not the good one, which may not
// start any more, it takes its place.
func (s *Store) MarkGood() error { return s.loader.markGood(s.current) }

// StartTrial makes the next starts those of the slot called name, at most tries times (1 to 9),
// unless it is marked good. The other slot must be known to be good.
func (s *Store) StartTrial(name string, tries int) error {
	if err := contract.CheckSlot(name); err != nil {
		return err
	}
	if tries < 1 || tries > 9 { // one digit: U-Boot's script counts in hex, GRUB's script expects one digit
		return fmt.Errorf("a trial has 1 to 9 tries, not %d", tries)
	}
	st, err := s.Current()
	if err != nil {
		return err
	}
	if name == st.Current {
		return fmt.Errorf("slot %s is running; a trial is for the other one", name)
	}
	if st.OnTrial() {
		return fmt.Errorf("slot %s is still on trial itself; mark it good first", st.Current)
	}
	return s.loader.startTrial(name, tries)
}

// WithdrawTrial makes the boot loader forget a trial of the other slot that is about to start. The
// slot's files stay: their trial may begin later, or an update overwrites them.
func (s *Store) WithdrawTrial() error {
	st, err := s.Current()
	if err != nil || !st.Leaves() {
		return err
	}
	return s.loader.withdrawTrial(st.Trial)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
