package initramfs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// options are the arguments of the kernel command line that concern us.
// image/boot writes them; nobody types them.
type options struct {
	slot      string        // imagebuilder.slot=a|b
	disk      string        // imagebuilder.disk=: GUID or MBR signature of the disk
	slotBytes int64         // imagebuilder.slotsize=: MiB
	bootdev   string        // imagebuilder.bootdev=: mmc, usb or nvme, from U-Boot
	trial     bool          // imagebuilder.trial=1: this boot must prove itself
	watchdog  time.Duration // systemd.watchdog_sec=: systemd's own argument
	module    []string      // NAME.PARAMETER=VALUE: for modules, as modprobe reads them
}

const defaultSlotBytes = 2 << 30

// parseCmdline reads the kernel command line. Arguments of others are
// ignored, wrong values of ours are an error.
func parseCmdline(line string) (options, error) {
	o := options{slotBytes: defaultSlotBytes}
	for _, arg := range strings.Fields(line) {
		key, value, _ := strings.Cut(arg, "=")
		if err := o.set(key, value); err != nil {
			return o, fmt.Errorf("kernel argument %q: %w", arg, err)
		}
		if strings.Contains(key, ".") {
			o.module = append(o.module, arg)
		}
	}
	if o.slot == "" {
		return o, fmt.Errorf("the kernel command line does not name the slot: imagebuilder.slot=a or b is missing")
	}
	return o, nil
}

func (o *options) set(key, value string) error {
	switch key {
	case "imagebuilder.slot":
		if value != "a" && value != "b" {
			return fmt.Errorf("the slot must be a or b")
		}
		o.slot = value
	case "imagebuilder.disk":
		o.disk = strings.ToLower(value)
	case "imagebuilder.bootdev":
		o.bootdev = value
	case "imagebuilder.trial":
		o.trial = value == "1"
	case "imagebuilder.slotsize":
		mib, err := strconv.ParseUint(value, 10, 24)
		if err != nil || mib == 0 {
			return fmt.Errorf("the size must be in MiB")
		}
		o.slotBytes = int64(mib) << 20
	case "systemd.watchdog_sec":
		seconds, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return fmt.Errorf("the time must be in seconds")
		}
		o.watchdog = time.Duration(seconds) * time.Second
	}
	return nil
}

// moduleOptions returns the parameters of a module, given with underscores. The
// kernel reads its command line for what is compiled in only; the rest is left
// to whoever loads modules.
func (o options) moduleOptions(name string) string {
	var found []string
	for _, arg := range o.module {
		owner, option, _ := strings.Cut(arg, ".")
		if strings.ReplaceAll(owner, "-", "_") == name {
			found = append(found, option)
		}
	}
	return strings.Join(found, " ")
}

// rootPart returns the number of the slot's partition.
func (o options) rootPart() int {
	if o.slot == "b" {
		return partRootB
	}
	return partRootA
}
