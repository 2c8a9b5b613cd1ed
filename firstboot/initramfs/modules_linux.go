package initramfs

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loadModules loads the modules in the order the builder computed. A driver
// for hardware that is not there is no error; the watchdog is armed as soon as
// its driver is in.
func (m *machine) loadModules() error {
	list, err := os.ReadFile(ModuleList)
	if err != nil {
		return err
	}
	for _, path := range strings.Fields(string(list)) {
		if err := loadModule("/" + path); err != nil {
			m.con.warn("%s: %v", filepath.Base(path), err)
		}
		if m.dog.arm(m.opt.watchdog) {
			m.con.say("watchdog armed: %v", m.dog.timeout())
		}
	}
	return nil
}

// loadModule leaves unpacking .ko.xz to the kernel (MODULE_DECOMPRESS, which
// Debian's have since 6.4).
func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(path, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	err = unix.FinitModule(int(f.Fd()), "", flags)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// raiseClock sets the clock to the time of the build if it is earlier, as on
// every start of a Pi, which has no clock of its own. Certificates and ext4's
// timestamps make no sense in 1970.
func raiseClock() bool {
	epoch, err := strconv.ParseInt(readLine(EpochFile), 10, 64)
	if err != nil || time.Now().Unix() >= epoch {
		return false
	}
	return unix.Settimeofday(&unix.Timeval{Sec: epoch}) == nil
}
