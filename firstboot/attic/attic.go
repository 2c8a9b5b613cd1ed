//go:build linux

// Package attic keeps what a system on trial may spoil for the system before it: the node's files
// of /etc, firstboot's records, and stores whose schema only goes forward. If the trial fails, the
// old system finds all of this as it was.
//
// The initramfs opens the attic before anything of the new or the old system runs: at that time
// nobody has a store open, and a plain copy is consistent. Encrypted data has an attic of its own,
// which is opened once the data is unlocked. Putting back is done by renames: it needs no room, and
// a power cut does not stop it from being continued. The package does not know etcd or Headscale:
// the system that prepared the trial decided which paths to keep.
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

// Done is what Open did, or what Due says it would do.
type Done int

// The values of Done.
const (
	Nothing Done = iota
	Kept         // the trial begins: copies were made
	Back         // the trial is over: everything is as it was before
)

// Attic is the attic of the /var that is mounted below a root directory.
type Attic struct {
	root   string
	step   func(op string) error // called before each step; a test may fail it, which ends the work there
	shut   func() (bool, error)  // reports whether the encrypted data is locked
	locked bool                  // this is the attic of the encrypted data
}

// In returns the attic below a root directory: "/", or what will become it.
func In(root string) Attic {
	a := Attic{root: root, step: func(string) error { return nil }}
	a.shut = a.isShut
	return a
}

// Locked returns the attic of the encrypted data. It must be opened once that data is unlocked, and
// before anything else uses the data.
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

// list returns the paths that this attic keeps in a trial.
func (a Attic) list(t contract.Trial) []string {
	if a.locked {
		return t.Locked
	}
	return t.Keep
}

// An attic that is not complete, not yet or no longer, has another name.
func (a Attic) coming() string { return a.dir() + ".new" }
func (a Attic) going() string  { return a.dir() + ".old" }

// Trial returns the trial that was prepared last. The error is fs.ErrNotExist if there is none.
func (a Attic) Trial() (contract.Trial, error) {
	data, err := os.ReadFile(a.at(contract.TrialFile))
	if err != nil {
		return contract.Trial{}, err
	}
	return contract.ParseTrial(data)
}

// The reasons why no other trial can be prepared.
var (
	ErrShut = errors.New("this node's data are locked, and an earlier trial may have kept the cluster's store among them: 'firstboot status' says what opens them; afterwards do this again")
	ErrOwed = errors.New("the cluster's store is not put back yet as it was before the trial that failed: 'firstboot status' says what is missing; afterwards do this again")
)

// Owes returns an error that says why the encrypted data that the last trial kept is still needed,
// nil where it is not. slot is the running slot. While the data is locked nobody can tell: the
// kernel reports every name in it as missing.
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

// Prepare records, in the running slot, what to keep when the trial begins. It deletes what was
// kept before, or refuses if that is still needed (see Owes).
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

// Amended returns the prepared trial, changed so that the cluster's store is kept there or not at
// all; nil if the trial says so already.
func (a Attic) Amended(store contract.StorePlace) (*contract.Trial, error) {
	t, err := a.Trial()
	if err != nil {
		return nil, err
	}
	next := t.KeepStore(store)
	if slices.Equal(next.Keep, t.Keep) && slices.Equal(next.Locked, t.Locked) {
		return nil, nil
	}
	return &next, nil
}

// Bless ends the trial of a slot that has proved itself. It does nothing if the trial is for
// another slot: that trial may be about to begin.
func (a Attic) Bless(slot string) error {
	t, err := a.Trial()
	if err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && t.Slot != slot {
		return err
	}
	if err == nil { // noted first: once the trial is removed, nobody knows which way it went
		if err := a.noteBack(t); err != nil {
			return err
		}
	}
	if err := a.remove(a.at(contract.TrialFile)); err != nil {
		return err
	}
	return errors.Join(a.empty(), a.Locked().empty())
}

// Open is called by the initramfs with the slot that starts. It keeps the trial's paths, or puts
// them back, or does nothing.
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

// Tidy removes incomplete copies: of a trial that could not keep everything, and of an attic whose
// removal was interrupted. They fill /var, and nobody goes back to them.
func (a Attic) Tidy() error { return errors.Join(a.burn(a.coming()), a.burn(a.going())) }

// Due returns what Open would do.
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
	case slot == t.Slot && !full: // if it is full, the trial has started before
		return t, Kept, nil
	case slot != t.Slot && full:
		return t, Back, nil
	}
	return t, Nothing, nil
}

// place returns where the copy of the n-th path is, and the file that takes its place if the path
// did not exist.
func place(dir string, n int) (copied, absent string) {
	copied = filepath.Join(dir, strconv.Itoa(n))
	return copied, copied + ".absent"
}

func (a Attic) keep(t contract.Trial) error {
	if err := a.remove(a.coming()); err != nil {
		return err
	}
	// Do not leave a disk full that had no room for all of it.
	if err := a.fill(t); err != nil {
		return errors.Join(err, a.burn(a.coming()))
	}
	return a.rename(a.coming(), a.dir())
}

// fill copies what is to be kept, and syncs it.
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

// putBack may be interrupted anywhere, and is then begun again: a path that was put back is no
// longer in the attic.
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

// empty removes the attic. It is renamed first, so that no partial attic is ever found under its
// name.
func (a Attic) empty() error {
	if err := a.burn(a.going()); err != nil {
		return err
	}
	if err := a.rename(a.dir(), a.going()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return a.Tidy()
}

// mostSecret is the size of the largest file, in bytes, that may hold a secret.
const mostSecret = 64 << 10

// burn removes copies that are not needed any more, and overwrites small files first: the copy of a
// secret that is encrypted or sealed by now would otherwise stay in free blocks.
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

// rename is durable when it returns: it syncs both directories.
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

// sync writes all of /var to its medium.
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
