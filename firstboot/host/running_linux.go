package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/attic"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/firstboot/wear"
)

// Running returns the slot that this system runs from; "" where the kernel command line does not
// name one, which means that this is not a node.
func (Slots) Running() string {
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return ""
	}
	args, err := contract.ParseArgs(string(cmdline))
	if err != nil {
		return ""
	}
	return args.Slot
}

// Check reads the slot from the medium: the partition is dropped from the page cache first.
func (s Slots) Check(ctx context.Context) error {
	p, err := s.Open(s.Running(), false)
	if err != nil {
		return err
	}
	return errors.Join(p.Sync(), wear.Check(ctx, p), p.Close())
}

// Bless marks the running slot as good on the boot partition. If that ends a trial, it also deletes
// the pieces of an earlier update that was given up.
func (s Slots) Bless(context.Context) error {
	store, err := s.Store()
	if err != nil {
		return err
	}
	before, err := store.Current()
	if err != nil {
		return err
	}
	if err := store.MarkGood(); err != nil {
		return fmt.Errorf("mark the running slot as good: %w", err)
	}
	if err := attic.In("/").Bless(s.Running()); err != nil || !before.OnTrial() {
		return err
	}
	s.dropPieces()
	return nil
}

// dropPieces returns no error: the slot is good by then, and its unit must not fail and restart the
// machine. The next update drops the pieces too. While an update is under way they stay: they may
// be that update's own.
func (s Slots) dropPieces() {
	release, err := s.Lock()
	if err != nil {
		return
	}
	_ = Spool{Dir: SpoolDir}.Drop()
	_ = release()
}

// Stores reports whether a trial has something to keep or to put back in the encrypted data.
func (s Slots) Stores() (bool, error) {
	will, err := attic.In("/").Locked().Due(s.Running())
	return will != attic.Nothing, err
}

// OpenStores keeps it, or puts it back.
func (s Slots) OpenStores() error {
	_, err := attic.In("/").Locked().Open(s.Running())
	return err
}

// Settled returns an error that says why what the last trial kept is still needed, nil where it is
// not.
func (s Slots) Settled() error { return attic.In("/").Owes(s.Running()) }

// Tidy removes what is left of a trial that could not keep everything it had to.
func (Slots) Tidy() error {
	a := attic.In("/")
	return errors.Join(a.Tidy(), a.Locked().Tidy())
}

// Leaving reports whether the next start is that of the other slot.
func (s Slots) Leaving(context.Context) (bool, error) {
	st, err := s.State()
	return err == nil && st.Leaves(), err
}

// Trial returns a trial with nothing but its slot where an older system began it.
func (s Slots) Trial(context.Context) (*contract.Trial, error) {
	st, err := s.State()
	if err != nil || !st.OnTrial() {
		return nil, err
	}
	t, err := attic.In("/").Trial()
	if errors.Is(err, fs.ErrNotExist) || err == nil && t.Slot != st.Current {
		return &contract.Trial{Slot: st.Current}, nil
	}
	return &t, err
}

// Verdict describes a trial of the other slot that ended in a return to this one, "" where there
// was none.
func (s Slots) Verdict() (string, error) {
	st, err := s.State()
	if err != nil {
		return "", err
	}
	return verdict(st), nil
}

func verdict(st slot.State) string {
	if st.Tries > 0 || st.Trial != slot.Other(st.Current) {
		return ""
	}
	return fmt.Sprintf("firstboot: the system in slot %s did not prove itself; this is slot %s again\n", st.Trial, st.Current)
}

// Boot describes the image and the slots. What cannot be read is left out.
func (s Slots) Boot(files firstboot.Files) (b firstboot.Boot) {
	if r, err := firstboot.ReadImage(files); err == nil {
		b.Image, b.Made = r.Version, &r.Made
	}
	if st, err := s.State(); err == nil {
		b.Good, b.Trial, b.Tries = st.Good, st.Trial, st.Tries
	}
	return b
}
