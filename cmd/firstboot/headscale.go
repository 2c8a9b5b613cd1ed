//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/backup"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/host"
)

// keeper returns the Keeper of this node's copies of Headscale.
func keeper() (*backup.Keeper, error) {
	host.LikeUnits("/")
	text, err := os.ReadFile(contract.HeadscaleStores)
	if err != nil {
		return nil, err
	}
	return backup.Open(text, backup.TransferTime)
}

func backUpHeadscale(ctx context.Context, _ firstboot.Host, args []string) error {
	takeOver := false
	define := func(f *flag.FlagSet) {
		f.BoolVar(&takeOver, "take-over", false, "this machine's database is the valid one, whoever wrote the newest copy")
	}
	if err := flags("headscale-backup", args, define); err != nil {
		return err
	}
	k, err := keeper()
	if err != nil {
		return err
	}
	if takeOver {
		if err := k.TakeOver(); err != nil {
			return err
		}
	}
	return k.Backup(ctx, time.Now())
}

func restoreHeadscale(ctx context.Context, h firstboot.Host, args []string) error {
	if err := flags("headscale-restore", args, nil); err != nil {
		return err
	}
	k, err := keeper()
	if err != nil {
		return err
	}
	image, err := firstboot.ReadImage(h.Files)
	if err != nil {
		return err
	}
	k.Version = image.Components["headscale"]
	name, err := k.Restore(ctx, warn)
	if name == "" || err != nil {
		return err
	}
	fmt.Println("firstboot: the server of", name, "is back")
	// A copy of this machine's own keeps the machine before it, if that is switched on again, from
	// writing more.
	if err := k.Backup(ctx, time.Now()); err != nil {
		warn(err.Error())
	}
	return nil
}

// warn writes a warning to the journal: sd-daemon(3).
func warn(s string) { fmt.Println("<4>" + s) }
