package qemu

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/image/boot"
	"github.com/going-mobile/imagebuilder/image/inspect"
)

// piBootFiles extracts U-Boot and the device tree from an image. dtb is the path to write
// the tree to; its base name says which tree. Devices that the emulator lacks are removed
// from the tree.
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
