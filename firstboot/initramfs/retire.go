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

// A stick that has done its work stops being a boot disk. No order to the firmware keeps a computer
// from starting a stick that was left in: some start removable media first whatever BootOrder says,
// some ignore BootNext, and a BIOS takes no orders. All of them skip a stick that has nothing to
// start, as they would a stick with photographs. A BIOS is the exception: it may look no further
// than its first disk. For that case GRUB, which is on the stick anyway, starts the other disk.
//
// The stick's own kernel does not go on with the disk's system: which slot starts, and whether on
// trial, is for the disk's boot loader to say, and after the first update the kernel would be
// another one. For the same reason it does not kexec.

// errAgain says that the computer has started again from a stick that was retired.
var errAgain = errors.New("the computer started from a stick without a boot loader")

// loaderFile is the file that firmware starts from any disk that it has no boot entry for.
func loaderFile(arch string) string {
	if arch == "arm64" {
		return contract.EFIBootDir + contract.EFIBootARM64
	}
	return contract.EFIBootDir + contract.EFIBootAMD64
}

// retire makes a stick, whose boot partition is mounted at dir, unbootable. disk is the PARTUUID of
// the boot partition of the disk that it installed. Nothing on the stick matters any more, so power
// may go after each step.
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

// checkRetired reads back what retire and note have written, after another mount: some worn-out
// sticks accept writes and do not keep them. A computer that trusted them would restart for ever.
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
