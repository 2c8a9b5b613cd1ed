package qemu

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/image/boot"
	"github.com/going-mobile/imagebuilder/image/inspect"
)

// piBootFiles takes U-Boot and the device tree dtb, by its last name, out of an
// image, the latter without what the emulator lacks.
func piBootFiles(image, uboot, dtb string) error {
	img, err := inspect.Open(image)
	if err != nil {
		return err
	}
	defer img.Close()
	loader, err := img.BootFile("u-boot.bin")
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	if err := os.WriteFile(uboot, loader, 0o600); err != nil {
		return err
	}
	tree, err := img.BootFile(filepath.Base(dtb))
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	if tree, err = boot.QEMUDeviceTree(tree); err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	return os.WriteFile(dtb, tree, 0o600)
}
