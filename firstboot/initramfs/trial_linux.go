package initramfs

import (
	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// askLoader asks what the boot loader and the firmware say, of a trial above all.
func (m *machine) askLoader() loader {
	l := m.ask()
	m.asked, m.state.Trial = true, l.trial || m.args.Trial
	return l
}

// onTrial says whether a start that has failed was one of a trial. One that did not come
// as far as to ask the loader asks it now.
func (m *machine) onTrial() bool {
	if !m.asked {
		m.askLoader()
	}
	return m.state.Trial
}

// askNames finds a trial that systemd-boot did not tell of. It tells what it has counted:
// a file that it cannot rename it starts all the same, and says nothing (257,
// config_entry_bump_counters); nor is it heard where the variables of the firmware cannot be
// read. That start is counted here, or the trial would never end.
func (m *machine) askNames(onBoot func(flags uintptr, do func(dir string) error) error) {
	err := onBoot(unix.MS_RDONLY, func(dir string) (err error) {
		m.state.Trial, err = namedTrial(dir, m.args)
		return err
	})
	if err == nil && m.state.Trial {
		m.con.say("slot %s is on trial, and the boot loader did not count this start", m.args.Slot)
		err = onBoot(unix.MS_SYNCHRONOUS, func(dir string) error { return slot.Count(dir, m.args.Slot) })
	}
	if err != nil {
		m.con.log("init: " + err.Error())
	}
}

// namedTrial says whether the boot partition at dir has the slot on trial.
func namedTrial(dir string, args contract.Args) (bool, error) {
	s, err := slot.Open(dir, args.Encode())
	if err != nil {
		return false, err
	}
	st, err := s.Current()
	return st.OnTrial(), err
}
