//go:build linux

// Package holder keeps shares of other nodes' keys and gives them out in the tailnet: it puts the
// decisions of package vault on a disk and on the network.
//
// About a node that asks it believes only what the tailnet says: its name, its ID, and the address
// at which it was reached just now. It refuses to answer on any other network, to tell one node
// about another, and to lose what it has accepted.
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

// Book is a holder's records, one YAML file per node in Dir. Several processes may use a book at
// the same time.
type Book struct {
	Dir string
	// Ready is a file that exists only while the book may be used. Without it this node is locked
	// itself, or keeps no shares, and anything written now would be stored unencrypted.
	Ready string
}

// errNotReady says that this node does not keep shares at present.
var errNotReady = errors.New("this node keeps no shares: node.yaml does not say so (storage: hold:), or it is locked itself")

// change calls do with a node's record, and writes the record durably if do has changed it, even if
// do also returns an error.
func (b Book) change(name string, do func(*vault.Record) (changed bool, err error)) error {
	if err := node.CheckHostname(name); err != nil { // the name becomes a file name
		return fmt.Errorf("%q %w", name, err)
	}
	if _, err := os.Stat(b.Ready); err != nil {
		return errNotReady
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

// lock keeps other processes out until the file is closed.
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

// read returns a node's record, an empty one for an unknown node. A damaged record is an error: it
// may hold a revocation.
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
	if err := d.Decode(&r); err != nil { // yaml's error text may quote the content
		return nil, fmt.Errorf("%s is damaged", b.file(name))
	}
	return &r, nil
}

// write is durable and atomic.
func (b Book) write(name string, r *vault.Record) error {
	text, err := yaml.Marshal(r)
	if err != nil {
		return err
	}
	return dirsync.Replace(filepath.Join(b.Dir, "."+name), b.file(name), func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}

// A waiting node asks twice a minute. One that has not asked for waitTime does not wait any more:
// it has its share from elsewhere, or is off, and the owner is not bothered with it.
const (
	waitTime = 10 * time.Minute
	markTime = time.Minute
)

// asked notes that a node still waits. The note is a file beside the record: with one more field an
// older image, to which a trial may fall back, could not read the record.
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

// waits reports whether a node has asked recently.
func (b Book) waits(name string, now time.Time) bool {
	fi, err := os.Stat(b.mark(name))
	return err == nil && now.Sub(fi.ModTime()) < waitTime
}

// Approve agrees to the question that has waited in a node's name since then, and returns it.
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

// Asking returns the question that waits in a node's name.
func (b Book) Asking(name string, now time.Time) (who *vault.Asking, err error) {
	err = b.change(name, func(r *vault.Record) (bool, error) {
		if who = r.Asking; who == nil || !b.waits(name, now) {
			return false, vault.ErrNobody
		}
		return false, nil
	})
	return who, err
}

// Revoke refuses a node for ever, by its member IDs in the tailnet and by all of its shares; if
// only is set, by the shares of these members alone.
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
