package firstboot

import (
	"errors"
	"io/fs"

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
