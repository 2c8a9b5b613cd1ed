package initramfs

import (
	"errors"
	"io/fs"

	"github.com/going-mobile/imagebuilder/firstboot/attic"
)

// attic keeps what the beginning trial may spoil, or puts back what a failed one has spoilt.
// Without that, a trial does not begin. The good slot starts in any case: a node that can be asked
// is better than one that cannot.
func (m *machine) attic() error {
	a := attic.In(sysroot)
	if _, err := a.Trial(); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	m.reached("looks after the trial of an update")
	did, err := a.Open(m.args.Slot)
	switch {
	case err != nil && m.state.Trial:
		return err
	case err != nil:
		m.con.warn("%v", err)
	case did == attic.Kept:
		m.con.say("slot %s is on trial: kept what it may change", m.args.Slot)
	case did == attic.Back:
		m.con.say("slot %s is back: put back what the trial had changed", m.args.Slot)
	}
	return nil
}
