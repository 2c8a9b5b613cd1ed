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

// The initramfs has chosen where the node's data is, before anything of this
// package ran. Here is told what is wrong with that.

// dataFault names why /var cannot be worked with, nil if nothing is wrong: a
// node whose data is gone or stale must not go on as if it were new.
func (h *Host) dataFault() error {
	switch on, err := h.Disks.Mounted("/var"); {
	case err != nil:
		return err
	case on == nil: // a container, a test
		return nil
	case on.Lost:
		return problem("data-lost", on.Device)
	case on.Failed:
		return problem("data-failed", on.Device)
	}
	return nil
}

// dataRestart is for how long a node must have run before it restarts itself for its
// data: once an hour at most, without anything that /var would have to remember.
const dataRestart = time.Hour

// restartForData switches a node whose data is gone, or is not written to any more, off
// and on, as a person would: the initramfs checks the disk, or waits for it. The fault
// has been told by the pass before. What else err is stays as it is.
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

// uptime is for how long the kernel has run: proc_uptime(5).
func (h *Host) uptime() (time.Duration, error) {
	text, err := h.read("/proc/uptime")
	if err != nil {
		return 0, err
	}
	seconds, _, _ := strings.Cut(string(text), " ")
	return time.ParseDuration(seconds + "s")
}

// bootState is what the initramfs did, empty where there was none.
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

// dataPlace compares where the data is with node.yaml. A node that lives on
// the boot disk stays there, and is told so; one that is nobody yet must not be
// born there.
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
