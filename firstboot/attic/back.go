//go:build linux

package attic

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// noteBack notes of a trial that is blessed which way it goes.
func (a Attic) noteBack(t contract.Trial) error {
	name := a.at(contract.BackFile)
	if !t.Back {
		return a.remove(name)
	}
	if err := writeFile(name+".new", strings.NewReader(t.Slot)); err != nil {
		return err
	}
	if err := a.sync(); err != nil {
		return err
	}
	return a.rename(name+".new", name)
}

// WentBack reports whether the system in this slot, which is good, has been gone back to: the other
// slot then has a later one.
func (a Attic) WentBack(slot string) (bool, error) {
	to, err := os.ReadFile(a.at(contract.BackFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && string(to) == slot, err
}
