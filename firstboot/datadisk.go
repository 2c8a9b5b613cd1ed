package firstboot

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// The initramfs has chosen the place of the node's data before anything of this package
// ran. What is wrong with that place is found here.

// dataFault names why /var cannot be worked with, nil if nothing is wrong: a node whose
// data are gone or no longer written must not go on as if it were new.
func (h *Host) dataFault() error {
	switch on, err := h.Disks.Mounted("/var"); {
	case err != nil:
		return err
	case on == nil: // in a container or a test
		return nil
	case on.Lost:
		return problem("data-lost", on.Device)
	case on.Failed:
		return problem("data-failed", on.Device)
	}
	return nil
}

// dataRestart is how long a node must have run before it restarts itself for its data:
// once an hour at most, without anything that /var would have to remember.
const dataRestart = time.Hour

// restartForData restarts a node whose data are gone, or are not written to any more, as
// a person would: the initramfs then checks the disk, or waits for it. It waits until the
// previous pass has shown that very fault. Any other error is returned as it is.
func (r *runner) restartForData(ctx context.Context, err error) error {
	var p *Problem
	if !errors.As(err, &p) || p.Code != "data-lost" && p.Code != "data-failed" || p.Code != r.last {
		return err
	}
	up, e := r.host.uptime()
	if e == nil && up >= dataRestart {
		e = r.host.Reboot(ctx)
	}
	return p.because(errors.Join(p.err, e))
}

// uptime returns how long the kernel has been running: proc_uptime(5).
func (h *Host) uptime() (time.Duration, error) {
	text, err := h.read("/proc/uptime")
	if err != nil {
		return 0, err
	}
	seconds, _, _ := strings.Cut(string(text), " ")
	return time.ParseDuration(seconds + "s")
}

// bootState returns what the initramfs did, the zero value if there was none.
func (h *Host) bootState() (contract.State, error) {
	data, err := h.read("/" + contract.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return contract.State{}, nil
	}
	if err != nil {
		return contract.State{}, err
	}
	return contract.ParseState(data)
}

// dataPlace compares the place of the data with node.yaml. A node that lives on the boot
// disk stays there, with a notice. One without an identity yet must not get it there:
// that is an error.
func (h *Host) dataPlace(cfg *node.Config) (notice *Problem, err error) {
	if cfg.DataDisk == (node.Disk{}) {
		return nil, nil
	}
	state, err := h.bootState()
	if err != nil || state.Disk == "" || state.DataDisk != "" {
		return nil, err
	}
	born, err := h.exists(ownerFile)
	if err == nil && !born {
		err = problem("data-restart")
	}
	if err != nil {
		return nil, err
	}
	return problem("data-stays"), nil
}
