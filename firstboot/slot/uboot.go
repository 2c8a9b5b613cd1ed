package slot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/dirsync"
)

// Files of U-Boot's script on the Raspberry Pi's boot partition. GoodFile is
// written only here, TrialFile also by U-Boot, which counts tries down before
// it starts a kernel. So a TrialFile that a power cut made unreadable costs
// the trial and never the knowledge of the good slot.
const (
	ScriptFile = "boot.scr"
	GoodFile   = "good.env"
	TrialFile  = "ab.env"
)

// EnvSize is the fixed size of both files in bytes: one sector, overwritten
// in place, which a power cut leaves either old or new. Writing a new file and
// renaming it would go through the FAT and the directory in several sectors.
const EnvSize = 512

// GoodEnv returns the content of GoodFile.
func GoodEnv(good string) []byte {
	return encodeEnv("# The slot that works. Written by the node, read by U-Boot.\ngood=" + good + "\n")
}

// TrialEnv returns the content of TrialFile; an empty slot means no trial.
func TrialEnv(slot string, tries int) []byte {
	if slot == "" {
		slot, tries = "none", 0
	}
	return encodeEnv(fmt.Sprintf("# The slot on trial. Written by the node and by U-Boot.\ntry=%s\ntries=%d\n", slot, tries))
}

// encodeEnv pads with newlines, which U-Boot's "env import -t" and every
// editor skip.
func encodeEnv(text string) []byte {
	return []byte(text + strings.Repeat("\n", EnvSize-len(text)))
}

// parseEnv reads the text form of U-Boot's environment, padded with zeros as
// U-Boot exports it or with newlines as we do, and GRUB's, padded with "#". Lines
// that are no assignment are skipped.
func parseEnv(b []byte) map[string]string {
	text, _, _ := strings.Cut(string(b), "\x00")
	vars := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if ok && !strings.HasPrefix(key, "#") {
			vars[key] = value
		}
	}
	return vars
}

// uboot keeps the state in two files on the boot partition.
type uboot struct{ dir string }

// read returns the variables of a file; a missing file has none, as for
// U-Boot's script.
func (u uboot) read(name string) (map[string]string, error) {
	b, err := os.ReadFile(filepath.Join(u.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the slots: %w", err)
	}
	return parseEnv(b), nil
}

func (u uboot) state(running string) (State, error) {
	good, err := u.read(GoodFile)
	if err != nil {
		return State{}, err
	}
	trial, err := u.read(TrialFile)
	if err != nil {
		return State{}, err
	}
	st := State{Current: running, Good: good["good"]}
	if contract.CheckSlot(st.Good) != nil {
		st.Good = "a" // as the script has it
	}
	if contract.CheckSlot(trial["try"]) == nil {
		st.Trial = trial["try"]
		// The script takes numbers as hexadecimal and refuses large ones.
		if n, err := strconv.ParseUint(trial["tries"], 16, 8); err == nil && n < 16 {
			st.Tries = int(n)
		}
	}
	return st, nil
}

func (u uboot) kits() [][]string { return [][]string{{Initrd, Cmdline, Kernel}} }

// markGood writes the good slot first: a power cut before the second write
// leaves a slot that is both good and on trial, which is good.
func (u uboot) markGood(name string) error {
	st, err := u.state(name)
	if err != nil {
		return err
	}
	if st.Good != name {
		if err := u.write(GoodFile, GoodEnv(name)); err != nil {
			return err
		}
	}
	if st.Trial != name {
		return nil
	}
	return u.write(TrialFile, TrialEnv("", 0))
}

func (u uboot) startTrial(name string, tries int) error {
	st, err := u.state(Other(name))
	if err != nil {
		return err
	}
	if st.Good == name {
		return fmt.Errorf("slot %s is the good one: it starts without a trial", name)
	}
	if !exists(filepath.Join(u.dir, name, Kernel)) {
		return fmt.Errorf("%s has no kernel for slot %s: nothing was installed there", u.dir, name)
	}
	// Written out even if it is what the defaults say: the trial must have
	// something to fall back to that does not rest on a missing file.
	if err := u.write(GoodFile, GoodEnv(st.Good)); err != nil {
		return err
	}
	return u.write(TrialFile, TrialEnv(name, tries))
}

func (u uboot) withdrawTrial(string) error { return u.write(TrialFile, TrialEnv("", 0)) }

func (u uboot) write(name string, data []byte) error {
	return overwrite(filepath.Join(u.dir, name), data)
}

// overwrite writes a file in place.
func overwrite(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write the state of the slots: %w", err)
	}
	_, err = f.WriteAt(data, 0)
	if info, statErr := f.Stat(); statErr == nil && info.Size() != int64(len(data)) {
		err = errors.Join(err, f.Truncate(int64(len(data))))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the state of the slots: %w", err)
	}
	return dirsync.Dir(filepath.Dir(name))
}
