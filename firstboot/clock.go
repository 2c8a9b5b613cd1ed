package firstboot

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// clock: the time is good enough to check certificates. A Pi has no clock that
// runs without power, and with a wrong time TLS fails without a word
// (tailscale/tailscale#3152). The clock is set to the image's build time at
// least; then a time server is waited for, but not for ever, as a node that was
// a member needs none. A time server is not believed either if it says what
// cannot be.

const (
	epochFile = "/usr/lib/clock-epoch" // its mtime is the build time; systemd-timesyncd.service(8)
	clockWait = 20 * time.Second
	// clockLife is how long after the image's build the clock is believed
	// without a time server.
	clockLife = 10 * 365 * 24 * time.Hour
	// builderSlack is how much the clock of who built the image, or signs, may have been fast.
	builderSlack = 24 * time.Hour
)

// clockStamp marks that this boot has waited for a time server.
const clockStamp = runDir + "/clock-waited"

func (m *machine) clockDone(context.Context) (bool, error) {
	floor, err := m.clockFloor()
	if err != nil {
		return false, err
	}
	synced, err := m.Clock.Synced()
	if err != nil || synced {
		return synced && !m.clockAstray(floor), err
	}
	if m.Clock.Now().Before(floor) || m.clockAhead(floor) {
		return false, nil
	}
	return m.exists(clockStamp)
}

func (m *machine) clockDo(ctx context.Context) error {
	floor, err := m.clockFloor()
	if err != nil {
		return err
	}
	synced, err := m.Clock.Synced()
	if err != nil {
		return err
	}
	if !synced && m.Clock.Now().Before(floor) {
		if err := m.Clock.Set(floor); err != nil {
			return err
		}
	}
	synced, err = m.awaitSync(ctx)
	switch {
	case err != nil:
		return err
	case synced && m.clockAstray(floor):
		return problem("clock-served", m.today())
	case synced:
		return nil
	case m.clockAhead(floor):
		return problem("clock-wrong", m.today())
	}
	return m.write(file{path: clockStamp, mode: 0o600})
}

func (m *machine) today() string { return m.Clock.Now().UTC().Format("2006-01-02") }

func (m *machine) awaitSync(ctx context.Context) (bool, error) {
	for waited := time.Duration(0); ; waited += time.Second {
		synced, err := m.Clock.Synced()
		if err != nil || synced || waited >= clockWait {
			return synced, err
		}
		if err := m.Clock.Sleep(ctx, time.Second); err != nil {
			return false, err
		}
	}
}

// clockAstray reports whether the clock is where no right one can be, though a
// time server set it.
func (m *machine) clockAstray(floor time.Time) bool {
	return m.Clock.Now().Before(floor.Add(-builderSlack)) || m.clockAhead(floor)
}

func (m *machine) clockAhead(floor time.Time) bool {
	return !floor.IsZero() && m.Clock.Now().After(floor.Add(clockLife))
}

func (m *machine) clockFloor() (time.Time, error) {
	fi, err := m.Files.Stat(epochFile)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return fi.ModTime(), nil
}
