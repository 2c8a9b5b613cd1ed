package initramfs

import (
	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// askLoader asks the boot loader and the firmware about this start, above all whether it is a
// trial.
func (m *machine) askLoader() loader {
	l := m.ask()
	m.asked, m.state.Trial = true, l.trial || m.args.Trial
	return l
}

// onTrial reports whether the start that failed was one of a trial. It asks the boot loader now if
// the start did not get that far.
func (m *machine) onTrial() bool {
	if !m.asked {
		m.askLoader()
	}
	return m.state.Trial
}

// askNames finds a trial that systemd-boot did not report. systemd-boot reports only what it has
// counted: it also starts a file that it cannot rename, and says nothing (257,
// config_entry_bump_counters). Nor does its report arrive if the firmware's variables cannot be
// read. Such a start is counted here, or the trial would never end.
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

// namedTrial reports whether the file names on the boot partition at dir say that the running slot
// is on trial.
func namedTrial(dir string, args contract.Args) (bool, error) {
	s, err := slot.Open(dir, args.Encode())
	if err != nil {
		return false, err
	}
	st, err := s.Current()
	return st.OnTrial(), err
}
