package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// A stick that has done its work is no boot disk any more. No order to the firmware
// keeps a computer from starting one that was left in: some start what is removable
// first whatever BootOrder says, some ignore BootNext, and a BIOS takes no orders. All
// of them pass by a stick on which there is nothing to start, as by any with somebody's
// photographs. Only a BIOS does not always: it may look no further than its first disk.
// There GRUB, which is on the stick anyway, starts the other one.
//
// The stick's own kernel does not go on with the disk's system: which slot starts, and
// whether on trial, is for the disk's boot loader to say, and from the first update on
// the kernel would be another one's. For the same reason it does not kexec.

// errAgain says that the computer has started from a stick that is no boot disk.
var errAgain = errors.New("the computer started from a stick without a boot loader")

// loaderFile is what firmware starts from any disk that it was told nothing about.
func loaderFile(arch string) string {
	if arch == "arm64" {
		return contract.EFIBootDir + contract.EFIBootARM64
	}
	return contract.EFIBootDir + contract.EFIBootAMD64
}

// retire makes of a stick, whose boot partition is mounted at dir, no boot disk; disk
// is the PARTUUID of the boot partition that it made. After it nothing on the stick
// matters: power may go behind each step.
func retire(dir, arch, disk string) error {
	if err := slot.StartElsewhere(dir, disk); err != nil {
		return fmt.Errorf("%w: %w", errStick, err)
	}
	err := os.Remove(filepath.Join(dir, loaderFile(arch)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errAgain
	case err != nil:
		return fmt.Errorf("%w: %w", errStick, err)
	}
	return nil
}

// checkRetired reads what has become of it, after another mount: some sticks that are
// worn out take what is written, and do not keep it. A computer that believed them
// would restart for ever.
func checkRetired(dir, arch string, done node.Installed) error {
	text, err := os.ReadFile(filepath.Join(dir, node.FileName))
	if err != nil {
		return fmt.Errorf("%w: %w", errStick, err)
	}
	if got, ok := node.ParseInstalled(text); !ok || got != done {
		return fmt.Errorf("%w: it does not keep %s", errStick, node.FileName)
	}
	if _, err := os.Stat(filepath.Join(dir, loaderFile(arch))); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it still has %s", errStick, loaderFile(arch))
	}
	return nil
}
