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

// Running is the slot that this system runs from, "" where the kernel was not
// told, as on no node.
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

// Check reads what the medium has: what the page cache has of it is dropped before.
func (s Slots) Check(ctx context.Context) error {
	p, err := s.Open(s.Running(), false)
	if err != nil {
		return err
	}
	return errors.Join(p.Sync(), wear.Check(ctx, p), p.Close())
}

// Bless marks the running slot as good on the boot partition. With a trial that ends well
// goes what came of another update in pieces, before it, and was given up.
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

// dropPieces has no error: the slot is good by now, whose unit must not fail and start the
// machine again. The next update drops them as well, and where one is on its way, its own
// they may be.
func (s Slots) dropPieces() {
	release, err := s.Lock()
	if err != nil {
		return
	}
	_ = Spool{Dir: SpoolDir}.Drop()
	_ = release()
}

// Stores says whether a trial has something to do with what is encrypted.
func (s Slots) Stores() (bool, error) {
	will, err := attic.In("/").Locked().Due(s.Running())
	return will != attic.Nothing, err
}

// OpenStores does it.
func (s Slots) OpenStores() error {
	_, err := attic.In("/").Locked().Open(s.Running())
	return err
}

// Settled says why what the last trial kept is still needed, nil where it is not.
func (s Slots) Settled() error { return attic.In("/").Owes(s.Running()) }

// Tidy removes what a trial has left that could not keep all that it was to.
func (Slots) Tidy() error {
	a := attic.In("/")
	return errors.Join(a.Tidy(), a.Locked().Tidy())
}

// Leaving says whether the next start is that of the other slot.
func (s Slots) Leaving(context.Context) (bool, error) {
	st, err := s.State()
	return err == nil && st.Leaves(), err
}

// Trial is known by its slot alone where an older system began it.
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

// Verdict tells of a trial of the other slot that ended in a return to this one, "" where
// there was none.
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

// Boot tells of the image and the slots; what cannot be read is left out.
func (s Slots) Boot(files firstboot.Files) (b firstboot.Boot) {
	if r, err := firstboot.ReadImage(files); err == nil {
		b.Image, b.Made = r.Version, &r.Made
	}
	if st, err := s.State(); err == nil {
		b.Good, b.Trial, b.Tries = st.Good, st.Trial, st.Tries
	}
	return b
}
