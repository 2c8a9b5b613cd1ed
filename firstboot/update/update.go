// Package update puts another image into the slot that does not run, from an
// artifact that the fleet's key signed, and on trial.
//
// Everything that speaks against an update is said before the first byte is
// written. Then an earlier trial that waits is taken back, the other slot's boot files
// go, its root is written and read back, its boot files come, the kernel last, and the
// trial is started: whatever fails in between, the running slot starts as before and
// the other one does not. Done again, it ends as if nothing had failed.
//
// It never touches the running slot, nor what both slots share: firmware, boot
// loaders, device trees. It restarts nothing. It reaches the world through
// firstboot.Host, Slots and, for what comes in pieces, Spool alone.
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
	// Lock keeps other updates out until release is called; the error is ErrBusy
	// where one is under way.
	Lock() (release func() error, err error)
	State() (slot.State, error)
	// Takes refuses boot files that do not fit the boot loader.
	Takes(files []string) error
	// Settled says why no other trial can begin: what the last one kept is still to be
	// put back, or may be.
	Settled() error
	// Tidy removes what a trial has left that could not keep all that it was to.
	Tidy() error
	// Prepared is the trial that was prepared last, nil where it was blessed or there was
	// none.
	Prepared() (*contract.Trial, error)
	// WithdrawTrial takes back a trial of the other slot that waits for the next start.
	WithdrawTrial() error
	// StartTrial makes the next starts those of the other slot, once it is known
	// what of the running one is to be kept meanwhile.
	StartTrial(t contract.Trial, tries int) error
	// Open opens a slot's partition, for writing if nobody uses it.
	Open(name string, write bool) (Partition, error)
	// Read returns a file of the system in a slot, by its path from that one's root.
	Read(name, file string) ([]byte, error)
	// Reread opens a boot file, which was synced, to be read from its medium.
	Reread(name string) (io.ReadCloser, error)
	// Relax lets what is written to the boot partition wait for a sync, until
	// restore is called: else a kernel costs its medium 34,000 writes.
	Relax() (restore func() error, err error)
}

// Partition is a slot's. Sync puts what was written onto the medium, from where it
// is read afterwards.
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

// ask finds out what runs.
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

// tries are the starts that a new system has, to prove itself in one.
const tries = 3

// update is one that is under way.
type update struct {
	firstboot.Host
	slots   Slots
	in      *artifact.Reader
	running *firstboot.Running
	state   slot.State
	other   string // the slot that it is for
}

// Apply reads an update from r, which has size bytes, -1 where nobody knows. One that came
// in pieces, and was given up for this one, is forgotten.
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
	if same, err := u.same(); err != nil {
		return nil, err
	} else if same {
		return u.stays()
	}
	trial, err := u.accepts(ctx)
	if err != nil {
		return nil, err
	}
	// That of an earlier update, which waits for the restart, would begin with what is
	// written now, and keep only what that one may spoil.
	if err := s.WithdrawTrial(); err != nil {
		return nil, err
	}
	if err := u.install(trial); err != nil {
		return nil, fmt.Errorf("slot %s is not ready, slot %s starts as before, and this can be done again: %w", u.other, u.state.Current, err)
	}
	return &Result{Installed: true, Slot: u.other, Version: u.in.Version, Fetched: u.in.Length}, nil
}

// stays is the result where the node is to run what it runs, also after its next start.
func (u *update) stays() (*Result, error) {
	r := &Result{Slot: u.state.Current, Version: u.running.Version, TakenBack: u.state.Leaves()}
	if err := u.slots.WithdrawTrial(); err != nil {
		return nil, err
	}
	return r, nil
}

// accepts says what speaks against the update, and prepares its trial.
func (u *update) accepts(ctx context.Context) (trial contract.Trial, err error) {
	if err := u.refuse(); err != nil {
		return trial, err
	}
	if trial, err = u.running.Trial(ctx, u.Host, u.other, u.in.Components); err != nil {
		return trial, err
	}
	return trial, u.refuseAttic(trial, u.unpacks(u.in.Components))
}

// open asks the node, and reads what the owner signed.
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
