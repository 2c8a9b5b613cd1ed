package initramfs

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watchdog resets the machine when the initramfs, or what it starts, hangs. The zero value is not
// armed.
//
// It is never disarmed. At the switch to the real root the descriptor is closed without the magic
// character, so the hardware keeps running, and systemd takes it over: the kernel argument
// systemd.watchdog_sec=, which gave us the timeout, tells systemd to. Without that argument nothing
// is armed.
type watchdog struct {
	mu    sync.Mutex
	dev   *os.File
	limit time.Duration
	until time.Time
}

// arm opens the first watchdog that appears, once; drivers are loaded one by one. A driver that
// cannot count up to limit keeps its own timeout. u-root's watchdog package is no help: its
// SetTimeout passes nanoseconds to the driver (v0.16).
func (w *watchdog) arm(limit time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dev != nil || limit <= 0 {
		return false
	}
	dev, err := os.OpenFile("/dev/watchdog0", os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	fd := int(dev.Fd())
	_ = unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, int(limit/time.Second))
	w.dev, w.limit = dev, 10*time.Second
	if real, err := unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT); err == nil && real > 0 {
		w.limit = time.Duration(real) * time.Second
	}
	w.until = time.Now().Add(stepLimit)
	go w.feed()
	return true
}

// expect promises that the current step ends within d. After that nobody feeds the watchdog, so
// that a hang of PID 1 itself is noticed too.
func (w *watchdog) expect(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = time.Now().Add(d)
}

func (w *watchdog) timeout() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.limit
}

func (w *watchdog) feed() {
	for {
		w.mu.Lock()
		if time.Now().Before(w.until) {
			w.keepAlive()
		}
		pause := w.limit / 4
		w.mu.Unlock()
		time.Sleep(pause)
	}
}

// feedLast gives systemd the whole timeout to take over.
func (w *watchdog) feedLast() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dev != nil {
		w.keepAlive()
	}
}

// keepAlive writes anything but V, the magic character.
func (w *watchdog) keepAlive() { _, _ = w.dev.Write([]byte{1}) }
