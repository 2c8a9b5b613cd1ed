package initramfs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// loadModules loads the modules in the order that the builder computed. A driver whose hardware is
// missing is no error. The watchdog is armed as soon as its driver is loaded.
func (m *machine) loadModules() error {
	list, err := os.ReadFile("/" + contract.ModuleFile)
	if err != nil {
		return err
	}
	absent := map[string]bool{}
	for _, module := range contract.ParseModules(string(list)) {
		m.loadModule(module.Path, module.Needs, absent)
		if m.dog.arm(m.args.Watchdog) {
			m.con.say("watchdog armed: %v", m.dog.timeout())
		}
	}
	return nil
}

// loadModule records in absent a driver that found no hardware, and skips modules that need it: the
// kernel would print a line for every symbol that they miss.
func (m *machine) loadModule(path string, needs []string, absent map[string]bool) {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	name = strings.ReplaceAll(name, "-", "_")
	if slices.ContainsFunc(needs, func(n string) bool { return absent[n] }) {
		absent[name] = true
		return
	}
	err := finitModule("/"+path, m.args.ModuleOptions(name))
	switch {
	case errors.Is(err, unix.ENODEV):
		absent[name] = true
	case err != nil && !errors.Is(err, unix.EEXIST):
		m.con.warn("%s: %v", filepath.Base(path), err)
	}
}

// finitModule leaves decompressing .ko.xz to the kernel (MODULE_DECOMPRESS, set in Debian's kernels
// since 6.4).
func finitModule(path, options string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(path, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	return unix.FinitModule(int(f.Fd()), options, flags)
}

// raiseClock sets the clock to the time of the build if the clock is earlier, as at every start of
// a Pi, which has no clock of its own. Certificates and ext4's timestamps make no sense in 1970.
func raiseClock() bool {
	epoch, err := contract.ParseEpoch(readLine("/" + contract.EpochFile))
	if err != nil || !time.Now().Before(epoch) {
		return false
	}
	return unix.Settimeofday(&unix.Timeval{Sec: epoch.Unix()}) == nil
}
