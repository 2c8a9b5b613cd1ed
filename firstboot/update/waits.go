package update

import (
	"fmt"
	"path"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// known returns the result of an update that brings nothing: the node runs its system already, or
// has it in the other slot, where it waits for the restart. It returns nil for any other update.
func (u *update) known() (*Result, error) {
	if same, err := u.same(); err != nil {
		return nil, err
	} else if same {
		return u.stays()
	}
	if waits, err := u.waits(); err != nil || !waits {
		return nil, err
	}
	return &Result{Installed: true, Slot: u.other, Version: u.in.Version}, nil
}

// waits reports whether the next start tries for the first time what the update would bring, with
// nothing of it damaged or missing. The owner may send an update first, and later say again that
// it be sent and tried.
func (u *update) waits() (bool, error) {
	if !u.state.Leaves() || u.state.Tries != tries {
		return false, nil
	}
	last, err := u.slots.Prepared()
	if err != nil || last == nil || last.Slot != u.other || last.Back {
		return false, err
	}
	if slices.ContainsFunc(u.in.Boot, func(f artifact.File) bool { return !u.gotFile(&f) }) {
		return false, nil
	}
	p, err := u.slots.Open(u.other, false)
	if err != nil {
		return false, err
	}
	defer p.Close()
	return u.isRoot(p), nil
}

// gotFile reports whether a boot file of the other slot is on the medium as the update has it.
func (u *update) gotFile(f *artifact.File) bool {
	name, err := u.waiting(f)
	if err != nil {
		return false
	}
	r, err := u.slots.Reread(name)
	if err != nil {
		return false
	}
	defer r.Close()
	sum, err := hashed(r)
	return err == nil && sum == f.Sum(u.other)
}

// waiting returns the path of a boot file of the other slot that waits for its first try.
func (u *update) waiting(f *artifact.File) (string, error) {
	if f.Name != slot.Unified && f.Name != slot.Entry {
		return path.Join(bootDir, slot.Place(f.Name, u.other, 0)), nil
	}
	all, err := u.oldFiles()
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(all, func(name string) bool {
		n, ok := slot.ParseEFIName(path.Base(name))
		return ok && n.Entry == (f.Name == slot.Entry) && n.Left == tries
	})
	if at < 0 {
		return "", fmt.Errorf("nothing starts slot %s", u.other)
	}
	return all[at], nil
}
