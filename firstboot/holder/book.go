//go:build linux

// Package holder keeps shares of other nodes' keys and answers for them in the tailnet:
// what package vault decides, on a disk and over a line.
//
// It believes of who asks nothing but what the tailnet says: its name, its number, and
// at which address it was reached just now. It refuses to answer on any other network,
// to tell one node of another, and to lose what it said yes to.
package holder

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/dirsync"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// Book is what a holder knows, a file of YAML for each node in Dir. Several processes may
// use one.
type Book struct {
	Dir string
	// Ready is a file without which there is no book: the node is locked itself, or keeps
	// no shares. What was written then would lie in the clear.
	Ready string
}

// ErrNotReady says that this node keeps no shares now.
var ErrNotReady = errors.New("this node keeps no shares: node.yaml does not say so (storage: hold:), or it is locked itself")

// change has do work on a node's record, and writes what it changed before it returns.
// What do says no to is still written.
func (b Book) change(name string, do func(*vault.Record) (changed bool, err error)) error {
	if err := node.CheckHostname(name); err != nil { // it becomes a file's name
		return fmt.Errorf("%q %w", name, err)
	}
	if _, err := os.Stat(b.Ready); err != nil {
		return ErrNotReady
	}
	if err := os.MkdirAll(b.Dir, 0o700); err != nil {
		return err
	}
	alone, err := lock(b.Dir)
	if err != nil {
		return err
	}
	defer alone.Close()
	r, err := b.read(name)
	if err != nil {
		return err
	}
	changed, verdict := do(r)
	if !changed {
		return verdict
	}
	if err := b.write(name, r); err != nil {
		return err
	}
	return verdict
}

// lock keeps other processes away until it is closed.
func lock(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (b Book) file(name string) string { return filepath.Join(b.Dir, name+".yaml") }

// read returns an empty record of a node that it does not know. One that is damaged is an
// error: a revocation may be in it.
func (b Book) read(name string) (*vault.Record, error) {
	text, err := os.ReadFile(b.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return &vault.Record{}, nil
	}
	if err != nil {
		return nil, err
	}
	var r vault.Record
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&r); err != nil { // its words may have what is in it
		return nil, fmt.Errorf("%s is damaged", b.file(name))
	}
	return &r, nil
}

// write is durable, and as a whole or not at all.
func (b Book) write(name string, r *vault.Record) error {
	text, err := yaml.Marshal(r)
	if err != nil {
		return err
	}
	next := filepath.Join(b.Dir, "."+name)
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, b.file(name)); err != nil {
		return err
	}
	return dirsync.Dir(b.Dir)
}

// A node that waits asks twice a minute. What did not ask for a while waits no more: it got
// its share elsewhere, or is off, and the owner is asked about nobody.
const (
	waitTime = 10 * time.Minute
	markTime = time.Minute
)

// asked notes that somebody waits still, beside the record: a field more in that would keep
// an older image from reading it, to which a trial may go back.
func (b Book) asked(name string, now time.Time) error {
	if fi, err := os.Stat(b.mark(name)); err == nil && now.Sub(fi.ModTime()).Abs() < markTime {
		return nil
	}
	if err := os.WriteFile(b.mark(name), nil, 0o600); err != nil {
		return err
	}
	return os.Chtimes(b.mark(name), now, now)
}

func (b Book) mark(name string) string { return filepath.Join(b.Dir, name+".asked") }

// waits says whether who asked in a node's name still does.
func (b Book) waits(name string, now time.Time) bool {
	fi, err := os.Stat(b.mark(name))
	return err == nil && now.Sub(fi.ModTime()) < waitTime
}

// Approve lets in the one who waits in a node's name since then, and tells who that is.
func (b Book) Approve(name string, since, now time.Time) (who *vault.Asking, err error) {
	err = b.change(name, func(r *vault.Record) (bool, error) {
		if !b.waits(name, now) {
			return false, vault.ErrNobody
		}
		who, err = r.Approve(since, now)
		return err == nil, err
	})
	return who, err
}

// Asking tells who waits in a node's name.
func (b Book) Asking(name string, now time.Time) (who *vault.Asking, err error) {
	err = b.change(name, func(r *vault.Record) (bool, error) {
		if who = r.Asking; who == nil || !b.waits(name, now) {
			return false, vault.ErrNobody
		}
		return false, nil
	})
	return who, err
}

// Revoke refuses a node, by its numbers in the tailnet and by all shares that are here, or
// only by those of these numbers, for ever.
func (b Book) Revoke(name string, members []string, only bool) error {
	return b.change(name, func(r *vault.Record) (bool, error) {
		if only {
			r.RevokeOnly(members)
		} else {
			r.Revoke(members)
		}
		return true, nil
	})
}
