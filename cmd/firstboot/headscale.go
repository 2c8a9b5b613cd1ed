//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/backup"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// keeper reads where copies of Headscale are kept on this node.
func keeper() (*backup.Keeper, error) {
	text, err := os.ReadFile(contract.HeadscaleStores)
	if err != nil {
		return nil, err
	}
	var b node.Backup
	if err := strictyaml.Decode(contract.HeadscaleStores, text, &b); err != nil {
		return nil, err
	}
	k := &backup.Keeper{Data: contract.HeadscaleData, UID: contract.HeadscaleID, GID: contract.HeadscaleID}
	k.Stores = append(k.Stores, backup.Dir(cmp.Or(b.Path, contract.HeadscaleBackup)))
	if b.S3 != nil {
		k.Stores = append(k.Stores, backup.Bucket(b.S3))
	}
	return k, nil
}

func backUpHeadscale(ctx context.Context, _ firstboot.Host, args []string) error {
	if err := flags("headscale-backup", args, nil); err != nil {
		return err
	}
	k, err := keeper()
	if err != nil {
		return err
	}
	return k.Backup(ctx, time.Now())
}

func restoreHeadscale(ctx context.Context, _ firstboot.Host, args []string) error {
	if err := flags("headscale-restore", args, nil); err != nil {
		return err
	}
	k, err := keeper()
	if err != nil {
		return err
	}
	name, err := k.Restore(ctx, func(s string) { fmt.Println("<4>" + s) }) // a warning in the journal, sd-daemon(3)
	if name != "" && err == nil {
		fmt.Println("firstboot: the server of", name, "is back")
	}
	return err
}
