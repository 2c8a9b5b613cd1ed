// Package update puts another image into the slot that is not running, and on trial. It takes an
// artifact that the owner's key signed, whole or in pieces, and returns a Result.
//
// Every reason against an update is given before the first byte is written. Then a trial of an
// earlier update that still waits is taken back, the other slot's boot files are removed, its root
// is written and read back, its boot files are written, the kernel last, and the trial is prepared.
// Whatever fails in between, the running slot starts as before and the other one does not start.
// Repeating the update ends as if nothing had failed.
//
// The package never touches the running slot, nor what both slots share: firmware, boot loaders,
// device trees. It restarts nothing. It reaches the world only through firstboot.Host, Slots and,
// for an update that comes in pieces, Spool.
package update

import (
	"context"
	"errors"
	"fmt"
	"io"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// Slots are the two systems on the node's disk.
type Slots interface {
	// Lock keeps other updates out until release is called. The error is ErrBusy while another
	// update is under way.
	Lock() (release func() error, err error)
	State() (slot.State, error)
	// Takes refuses a set of boot files that the boot loader cannot start.
	Takes(files []string) error
	// Settled returns an error that says why no new trial can begin: what the last trial kept is
	// still to be put back, or may have to be.
	Settled() error
	// Tidy removes what is left of a trial that could not keep everything it had to.
	Tidy() error
	// Prepared returns the trial that was prepared last, nil where it was blessed or there was
	// none.
	Prepared() (*contract.Trial, error)
	// WentBack reports whether a rollback has led to the running system.
	WentBack() (bool, error)
	// WithdrawTrial takes back a trial of the other slot that waits for the next start.
	WithdrawTrial() error
	// StartTrial makes the next starts, at most tries, those of the other slot. It first records
	// what of the running system is to be kept meanwhile.
	StartTrial(t contract.Trial, tries int) error
	// Open opens a slot's root partition, for writing only if nobody uses it.
	Open(name string, write bool) (Partition, error)
	// Read returns a file of the system in a slot. file is its path from that system's root.
	Read(name, file string) ([]byte, error)
	// Reread opens a boot file that was synced, to read it from its medium and not from a cache.
	Reread(name string) (io.ReadCloser, error)
	// Relax lets writes to the boot partition wait for a sync until restore is called. Without it,
	// one kernel costs the medium 34,000 writes.
	Relax() (restore func() error, err error)
}

// Partition is a slot's root partition. Sync writes everything to the medium; later reads come from
// the medium.
type Partition interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Sync() error
}

// ErrBusy means that another update is under way.
var ErrBusy = errors.New("another update is under way on this node: wait until it ends")

// Result says what became of an update.
type Result = contract.UpdateResult

// ask finds out which system runs, from which slot.
func (u *update) ask() (err error) {
	if u.running, err = firstboot.ReadRunning(u.Files); err != nil {
		return err
	}
	if u.state, err = u.slots.State(); err != nil {
		return err
	}
	u.other = slot.Other(u.state.Current)
	return nil
}

// tries is how many starts a new system has to prove itself.
const tries = 3

// update is an update, or a rollback, that is under way.
type update struct {
	firstboot.Host
	slots   Slots
	in      *artifact.Reader
	running *firstboot.Running
	state   slot.State
	other   string // the slot that is written
}

// Apply reads an update of size bytes from r; size is -1 where it is not known. It then deletes an
// update that came in pieces and was abandoned in favour of this one.
func Apply(ctx context.Context, h firstboot.Host, s Slots, spool Spool, r io.Reader, size int64) (result *Result, err error) {
	release, err := s.Lock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if result, err = apply(ctx, h, s, ctxio.Reader(ctx, r), size); err != nil {
		return nil, err
	}
	return result, spool.Drop()
}

func apply(ctx context.Context, h firstboot.Host, s Slots, r io.Reader, size int64) (*Result, error) {
	u, err := open(h, s, r)
	if err != nil {
		return nil, err
	}
	if size >= 0 && size < u.in.Length {
		return nil, fmt.Errorf("%w: it has %d bytes, of which %d are there", artifact.ErrTruncated, u.in.Length, size)
	}
	if r, err := u.known(); r != nil || err != nil {
		return r, err
	}
	trial, err := u.accepts(ctx)
	if err != nil {
		return nil, err
	}
	// The trial of an earlier update that waits for the restart would start what is written now,
	// while only what the earlier update may spoil is kept.
	if err := s.WithdrawTrial(); err != nil {
		return nil, err
	}
	if err := u.install(trial); err != nil {
		return nil, fmt.Errorf("slot %s is not ready, slot %s starts as before, and this can be done again: %w", u.other, u.state.Current, err)
	}
	return &Result{Installed: true, Slot: u.other, Version: u.in.Version, Fetched: u.in.Length}, nil
}

// stays returns the result for a node that keeps the system it runs, also at its next start.
func (u *update) stays() (*Result, error) {
	r := &Result{Slot: u.state.Current, Version: u.running.Version, TakenBack: u.state.Leaves()}
	if err := u.slots.WithdrawTrial(); err != nil {
		return nil, err
	}
	return r, nil
}

// accepts returns the first reason against the update, or else the trial to prepare.
func (u *update) accepts(ctx context.Context) (trial contract.Trial, err error) {
	if err := u.refuse(); err != nil {
		return trial, err
	}
	if trial, err = u.running.Trial(ctx, u.Host, u.other, u.in.Components); err != nil {
		return trial, err
	}
	return trial, u.refuseAttic(trial, u.unpacks(u.in.Components))
}

// open asks the node what it runs, and reads what the owner signed: the manifest.
func open(h firstboot.Host, s Slots, r io.Reader) (*update, error) {
	u := &update{Host: h, slots: s}
	if err := u.ask(); err != nil {
		return nil, err
	}
	key, err := u.owner()
	if err != nil {
		return nil, err
	}
	u.in, err = artifact.Open(r, key)
	return u, err
}

func (u *update) owner() (key minisign.PublicKey, err error) {
	if u.running.OwnerKey == "" {
		return key, errors.New("this node knows no owner whose signature it could ask for: give it a node.yaml with ownerKey")
	}
	return node.ParseOwnerKey(u.running.OwnerKey)
}
