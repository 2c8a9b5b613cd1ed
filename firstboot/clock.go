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
// a member needs none.

const (
	epochFile = "/usr/lib/clock-epoch" // its mtime is the build time; systemd-timesyncd.service(8)
	clockWait = 20 * time.Second
	// clockLife is how long after the image's build the clock is believed
	// without a time server.
	clockLife = 10 * 365 * 24 * time.Hour
)

// clockStamp marks that this boot has waited for a time server.
const clockStamp = runDir + "/clock-waited"

func (m *machine) clockDone(context.Context) (bool, error) {
	synced, err := m.Clock.Synced()
	if err != nil || synced {
		return synced, err
	}
	floor, err := m.clockFloor()
	if err != nil || m.Clock.Now().Before(floor) || m.clockAhead(floor) {
		return false, err
	}
	return m.exists(clockStamp)
}

func (m *machine) clockDo(ctx context.Context) error {
	floor, err := m.clockFloor()
	if err != nil {
		return err
	}
	if m.Clock.Now().Before(floor) {
		if err := m.Clock.Set(floor); err != nil {
			return err
		}
	}
	synced, err := m.awaitSync(ctx)
	if err != nil || synced {
		return err
	}
	if m.clockAhead(floor) {
		return problem("clock-wrong", m.Clock.Now().UTC().Format("2006-01-02"))
	}
	return m.write(file{path: clockStamp, mode: 0o600})
}

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
