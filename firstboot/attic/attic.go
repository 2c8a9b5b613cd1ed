//go:build linux

// Package attic keeps what a system on trial may spoil for the one before it: the
// node's files of /etc, what firstboot knows, and stores whose schema goes forward
// only. Should the trial fail, the old system finds all of it as it was.
//
// The initramfs opens it, before anything of the new or the old system runs: then
// nobody has a store open, and a plain copy is a good one. What is encrypted has an
// attic of its own, opened when that is. The way back is made of
// renames: it needs no room, and goes on where a power cut left it. The package
// knows no etcd and no Headscale: which paths are kept was decided by the system
// that made the update.
package attic

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/dirsync"
	"github.com/going-mobile/imagebuilder/firstboot/fscrypt"
)

// Done is what Open did.
type Done int

// What Open did.
const (
	Nothing Done = iota
	Kept         // the trial begins: a copy was made
	Back         // the trial is over: all is as it was
)

// Attic is the one of the /var that is mounted below a root.
type Attic struct {
	root   string
	step   func(op string) error // of a test, which may end everything here
	shut   func() (bool, error)  // what is encrypted is not open
	locked bool                  // it is that of what is encrypted
}

// In returns the attic below a root: "/", or what will be it.
func In(root string) Attic {
	a := Attic{root: root, step: func(string) error { return nil }}
	a.shut = a.isShut
	return a
}

// Locked returns that of what is encrypted, which is opened when that is, and before
// anything else opens it.
func (a Attic) Locked() Attic {
	a.locked = true
	return a
}

func (a Attic) at(name string) string { return filepath.Join(a.root, filepath.FromSlash(name)) }

func (a Attic) dir() string {
	if a.locked {
		return a.at(contract.LockedAtticDir)
	}
	return a.at(contract.AtticDir)
}

// list is what the attic is for in a trial.
func (a Attic) list(t contract.Trial) []string {
	if a.locked {
		return t.Locked
	}
	return t.Keep
}

// What is not whole, yet or any more, has another name than the attic.
func (a Attic) coming() string { return a.dir() + ".new" }
func (a Attic) going() string  { return a.dir() + ".old" }

// Trial tells of the trial that was prepared last; the error is fs.ErrNotExist where
// there was none.
func (a Attic) Trial() (contract.Trial, error) {
	data, err := os.ReadFile(a.at(contract.TrialFile))
	if err != nil {
		return contract.Trial{}, err
	}
	return contract.ParseTrial(data)
}

// The reasons for which no other trial can be prepared.
var (
	ErrShut = errors.New("this node's data are locked, and an earlier trial may have kept the cluster's store among them: 'firstboot status' says what opens them; afterwards do this again")
	ErrOwed = errors.New("the cluster's store is not put back yet as it was before the trial that failed: 'firstboot status' says what is missing; afterwards do this again")
)

// Owes says, with the slot that runs, why what the last trial kept of the encrypted data is
// still needed, nil where it is not. Of what is locked nobody knows: the kernel says of each
// name in it that it is not there.
func (a Attic) Owes(slot string) error {
	t, damage := a.Trial()
	if errors.Is(damage, fs.ErrNotExist) || damage == nil && len(t.Locked) == 0 {
		return nil
	}
	if shut, err := a.shut(); err != nil || shut {
		return cmp.Or(err, ErrShut)
	}
	full, err := exists(a.Locked().dir())
	if full && (damage != nil || slot != t.Slot) {
		return ErrOwed
	}
	return err
}

func (a Attic) isShut() (bool, error) {
	dir := filepath.Dir(a.at(contract.LockedAtticDir))
	id, err := fscrypt.KeyOf(dir)
	if err != nil || id == "" {
		return false, err
	}
	open, err := fscrypt.HasKey(dir, id)
	return !open, err
}

// Prepare says, in the slot that runs, what to keep when the trial begins. What was kept
// before is worth nothing any more, or Prepare refuses.
func (a Attic) Prepare(slot string, t contract.Trial) error {
	if err := a.Owes(slot); err != nil {
		return err
	}
	text, err := t.Encode()
	if err != nil {
		return err
	}
	if err := errors.Join(a.empty(), a.Locked().empty()); err != nil {
		return err
	}
	name := a.at(contract.TrialFile)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	if err := writeFile(name+".new", bytes.NewReader(text)); err != nil {
		return err
	}
	if err := a.sync(); err != nil {
		return err
	}
	return a.rename(name+".new", name)
}

// Amended is the trial that was prepared, with the store of the cluster kept or left alone;
// nil where it is so already.
func (a Attic) Amended(keep, encrypted bool) (*contract.Trial, error) {
	t, err := a.Trial()
	if err != nil {
		return nil, err
	}
	next := t.KeepStore(keep, encrypted)
	if slices.Equal(next.Keep, t.Keep) && slices.Equal(next.Locked, t.Locked) {
		return nil, nil
	}
	return &next, nil
}

// Bless ends the trial of a slot that proved itself; it does nothing for another one,
// whose trial may be about to begin.
func (a Attic) Bless(slot string) error {
	t, err := a.Trial()
	if err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && t.Slot != slot {
		return err
	}
	if err := a.remove(a.at(contract.TrialFile)); err != nil {
		return err
	}
	return errors.Join(a.empty(), a.Locked().empty())
}

// Open is for the initramfs, with the slot that starts: it keeps, or puts back, or
// has nothing to do.
func (a Attic) Open(slot string) (Done, error) {
	t, will, err := a.due(slot)
	switch {
	case err != nil:
		return Nothing, err
	case will == Kept:
		return Kept, a.keep(t)
	case will == Back:
		return Back, a.putBack(t)
	case slot != t.Slot:
		return Nothing, a.Tidy()
	}
	return Nothing, nil
}

// Tidy removes copies that are not whole: of a trial that could not keep all of it, and
// of one whose end was cut off. They fill /var, and nobody goes back to them.
func (a Attic) Tidy() error { return errors.Join(a.burn(a.coming()), a.burn(a.going())) }

// Due says what Open would do.
func (a Attic) Due(slot string) (Done, error) {
	_, will, err := a.due(slot)
	return will, err
}

func (a Attic) due(slot string) (t contract.Trial, will Done, err error) {
	t, err = a.Trial()
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(a.list(t)) == 0 {
		return t, Nothing, nil
	}
	if err != nil {
		return t, Nothing, err
	}
	full, err := exists(a.dir())
	switch {
	case err != nil:
		return t, Nothing, err
	case slot == t.Slot && !full: // else it was started before
		return t, Kept, nil
	case slot != t.Slot && full:
		return t, Back, nil
	}
	return t, Nothing, nil
}

// place has the copy of one path; absent is there in its place where there was nothing.
func place(dir string, n int) (copied, absent string) {
	copied = filepath.Join(dir, strconv.Itoa(n))
	return copied, copied + ".absent"
}

func (a Attic) keep(t contract.Trial) error {
	if err := a.remove(a.coming()); err != nil {
		return err
	}
	// A disk that had no room for all of it is not left full.
	if err := a.fill(t); err != nil {
		return errors.Join(err, a.burn(a.coming()))
	}
	return a.rename(a.coming(), a.dir())
}

// fill copies what is to be kept, onto the medium.
func (a Attic) fill(t contract.Trial) error {
	if err := os.MkdirAll(a.coming(), 0o700); err != nil {
		return err
	}
	for n, name := range a.list(t) {
		copied, absent := place(a.coming(), n)
		err := a.copyTree(a.at(name), copied)
		if errors.Is(err, fs.ErrNotExist) {
			err = writeFile(absent, bytes.NewReader(nil))
		}
		if err != nil {
			return fmt.Errorf("keep %s for the system before this one: %w", name, err)
		}
	}
	return a.sync()
}

// putBack may be cut off anywhere, and then begins again: what is back is in the
// attic no more.
func (a Attic) putBack(t contract.Trial) error {
	for n, name := range a.list(t) {
		if err := a.putBackOne(n, a.at(name)); err != nil {
			return fmt.Errorf("put back %s as it was before the trial: %w", name, err)
		}
	}
	if err := a.sync(); err != nil {
		return err
	}
	return a.empty()
}

func (a Attic) putBackOne(n int, name string) error {
	copied, absent := place(a.dir(), n)
	if was, err := exists(absent); err != nil || was {
		return errors.Join(err, a.remove(name))
	}
	if left, err := exists(copied); err != nil || !left {
		return err
	}
	spoilt := copied + ".spoilt"
	if err := a.remove(spoilt); err != nil {
		return err
	}
	if err := a.rename(name, spoilt); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return a.rename(copied, name)
}

// empty leaves no attic that is half there: what remains is called otherwise first.
func (a Attic) empty() error {
	if err := a.burn(a.going()); err != nil {
		return err
	}
	if err := a.rename(a.dir(), a.going()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return a.Tidy()
}

// mostSecret is the length of a file, in bytes, that may have a secret in it.
const mostSecret = 64 << 10

// burn removes what nobody goes back to, written over where it is small: a copy of what is
// encrypted or sealed by now would be left in blocks that are free.
func (a Attic) burn(name string) error {
	if err := a.step("overwrite " + name); err != nil {
		return err
	}
	err := filepath.WalkDir(name, func(file string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil || info.Size() > mostSecret {
			return err
		}
		return overwrite(file, info.Size())
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return a.remove(name)
}

func overwrite(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, size))
	return errors.Join(err, f.Sync(), f.Close())
}

// rename is on the medium when it returns, on both sides.
func (a Attic) rename(from, to string) error {
	if err := a.step("rename " + from); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(dirsync.Dir(filepath.Dir(to)), dirsync.Dir(filepath.Dir(from)))
}

func (a Attic) remove(name string) error {
	if err := a.step("remove " + name); err != nil {
		return err
	}
	return os.RemoveAll(name)
}

// sync puts all of /var onto its medium.
func (a Attic) sync() error {
	return dirsync.FileSystem(a.at("var"))
}

func exists(name string) (bool, error) {
	_, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
