package flash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/fat"
)

// AllowRepair creates an empty file on the boot partition of target, which may be anything
// that Personalize accepts. The file makes the node's next start, and only that one, repair
// its data at any price.
func AllowRepair(ctx context.Context, target string) (contract.Label, error) {
	b, err := openBoot(ctx, target, true)
	if err != nil {
		return contract.Label{}, fmt.Errorf("%s: %w", target, err)
	}
	defer b.Close()
	if err := b.touch(contract.RepairFile); err != nil {
		return contract.Label{}, fmt.Errorf("%s: %w", target, err)
	}
	return b.identity(), nil
}

func (v *volume) touch(name string) error {
	return errors.Join(fat.Touch(v.rw, name, time.Now()), v.t.m.Sync())
}

func (d *directory) touch(name string) error {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
