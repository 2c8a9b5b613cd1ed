//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/attic"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/firstboot/wear"
)

// slots marks the running slot on the boot partition.
type slots struct{}

func (slots) open() (*slot.Store, error) { return host.Slots{}.Store() }

// running is the slot that this system runs from, "" where the kernel was not
// told, as on no node.
func (slots) running() string {
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
func (s slots) Check(ctx context.Context) error {
	p, err := host.Slots{}.Open(s.running(), false)
	if err != nil {
		return err
	}
	return errors.Join(p.Sync(), wear.Check(ctx, p), p.Close())
}

func (s slots) Bless(context.Context) error {
	store, err := s.open()
	if err != nil {
		return err
	}
	if err := store.MarkGood(); err != nil {
		return fmt.Errorf("mark the running slot as good: %w", err)
	}
	return attic.In("/").Bless(s.running())
}

func (s slots) Stores() (bool, error) {
	will, err := attic.In("/").Locked().Due(s.running())
	return will != attic.Nothing, err
}

func (s slots) OpenStores() error {
	_, err := attic.In("/").Locked().Open(s.running())
	return err
}

// verdict tells of a trial of the other slot that ended in a return to this
// one, "" where there was none.
func (s slots) verdict() (string, error) {
	store, err := s.open()
	if err != nil {
		return "", err
	}
	st, err := store.Current()
	if err != nil || st.Tries > 0 || st.Trial != slot.Other(st.Current) {
		return "", err
	}
	return fmt.Sprintf("firstboot: the system in slot %s did not prove itself; this is slot %s again\n", st.Trial, st.Current), nil
}

// boot tells of the image and the slots; what cannot be read is left out.
func (s slots) boot(files firstboot.Files) (b firstboot.Boot) {
	if r, err := firstboot.ReadImage(files); err == nil {
		b.Image, b.Made = r.Version, &r.Made
	}
	store, err := s.open()
	if err != nil {
		return b
	}
	if st, err := store.Current(); err == nil {
		b.Good, b.Trial, b.Tries = st.Good, st.Trial, st.Tries
	}
	return b
}

func (s slots) Leaving(context.Context) (bool, error) {
	store, err := s.open()
	if err != nil {
		return false, err
	}
	st, err := store.Current()
	return st.Leaves(), err
}

// Trial is known by its slot alone where an older system began it.
func (s slots) Trial(context.Context) (*contract.Trial, error) {
	store, err := s.open()
	if err != nil {
		return nil, err
	}
	st, err := store.Current()
	if err != nil || !st.OnTrial() {
		return nil, err
	}
	t, err := attic.In("/").Trial()
	if errors.Is(err, fs.ErrNotExist) || err == nil && t.Slot != st.Current {
		return &contract.Trial{Slot: st.Current}, nil
	}
	return &t, err
}
