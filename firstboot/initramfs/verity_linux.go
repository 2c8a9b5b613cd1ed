package initramfs

import (
	"errors"
	"fmt"

	"github.com/containerd/go-dmverity/pkg/dm"
	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// verified returns a dm-verity device on top of a root: a block that does not match the root hash
// in the kernel's arguments cannot be read. Whoever signed the arguments has thereby signed the
// root.
func verified(dev string, v *contract.Verity) (string, error) {
	ctl, err := dm.Open()
	if err != nil {
		return "", fmt.Errorf("device mapper: %w", err)
	}
	defer ctl.Close()
	size := v.Blocks * contract.RootPage
	params, err := dm.BuildTargetParams(dm.OpenArgs{
		Version: 1, DataDevice: dev, HashDevice: dev, DataBlockSize: contract.RootPage, HashBlockSize: contract.RootPage,
		DataBlocks: uint64(v.Blocks), HashName: "sha256", RootDigest: v.Root[:], HashStartBytes: uint64(size + contract.RootPage),
	})
	if err != nil {
		return "", fmt.Errorf("dm-verity: %w", err)
	}
	const name = "imagebuilder-root"
	number, err := ctl.CreateDevice(name)
	if err == nil {
		err = errors.Join(
			ctl.LoadTable(name, []dm.Target{{Length: uint64(size) / sector, Type: "verity", Params: params}}),
			ctl.SuspendDevice(name, false)) // activates the table
	}
	if err != nil {
		return "", fmt.Errorf("dm-verity: %w", err)
	}
	return fmt.Sprintf("/dev/dm-%d", unix.Minor(number)), nil
}

// sector is the device mapper's unit, in bytes, whatever the disk's sector size is.
const sector = 512
