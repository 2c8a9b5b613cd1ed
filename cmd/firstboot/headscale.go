//go:build linux

package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/backup"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// keeper reads where copies of Headscale are kept on this node.
func keeper() (*backup.Keeper, error) {
	likeUnits()
	text, err := os.ReadFile(contract.HeadscaleStores)
	if err != nil {
		return nil, err
	}
	return backup.Open(text, backup.TransferTime)
}

// likeUnits gives this program the proxy and the authority that node.yaml names, as the units
// have them: who logs in has neither. net/http and crypto/x509 look once, at the first use.
func likeUnits() {
	if os.Getenv("SSL_CERT_DIR") == "" {
		_ = os.Setenv("SSL_CERT_DIR", "/etc/ssl/certs:/etc/imagebuilder/ca")
	}
	f, err := os.Open("/etc/imagebuilder/proxy.env")
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok && !strings.HasPrefix(name, "#") && os.Getenv(name) == "" {
			_ = os.Setenv(name, strings.Trim(value, `"`))
		}
	}
}

func backUpHeadscale(ctx context.Context, _ firstboot.Host, args []string) error {
	takeOver := false
	define := func(f *flag.FlagSet) {
		f.BoolVar(&takeOver, "take-over", false, "this machine's database counts, whoever wrote the newest copy")
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

func restoreHeadscale(ctx context.Context, _ firstboot.Host, args []string) error {
	if err := flags("headscale-restore", args, nil); err != nil {
		return err
	}
	k, err := keeper()
	if err != nil {
		return err
	}
	name, err := k.Restore(ctx, warn)
	if name == "" || err != nil {
		return err
	}
	fmt.Println("firstboot: the server of", name, "is back")
	// The machine before this one must not write another, if it comes back on.
	if err := k.Backup(ctx, time.Now()); err != nil {
		warn(err.Error())
	}
	return nil
}

// warn writes a warning into the journal, sd-daemon(3).
func warn(s string) { fmt.Println("<4>" + s) }
