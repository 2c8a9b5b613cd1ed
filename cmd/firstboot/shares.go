//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/holder"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

var book = holder.Book{Dir: "/" + contract.SharesDir, Ready: "/" + contract.HoldFile}

func serveShares(ctx context.Context, h firstboot.Host, args []string) error {
	if err := flags("shares", args, nil); err != nil {
		return err
	}
	at, err := ownAddress(ctx, h)
	if err != nil {
		return err
	}
	l, err := holder.TailnetWay.Listen(ctx, at)
	if err != nil {
		return err
	}
	return holder.Serve(ctx, l, holder.TailnetWay, book, &host.Tailnet{}, func(s string) { fmt.Println("firstboot:", s) })
}

// ownAddress returns this node's address in the tailnet, by which others know it.
func ownAddress(ctx context.Context, h firstboot.Host) (netip.Addr, error) {
	st, err := h.Tailnet.Status(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, ip := range st.IPs {
		if ip.Is4() {
			return ip, nil
		}
	}
	return netip.Addr{}, errors.New("this node has no address in the tailnet yet")
}

func unlockNode(_ context.Context, _ firstboot.Host, args []string) error {
	since := ""
	f, err := parse("unlock", args, func(f *flag.FlagSet) {
		f.StringVar(&since, "since", "", "agree to the request that has waited since then; without it the request is only shown")
	})
	if err != nil {
		return err
	}
	if f.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "firstboot unlock: name one NODE")
		return errUsage
	}
	if since == "" {
		who, err := book.Asking(f.Arg(0), time.Now())
		return printAsking(who, err)
	}
	at, err := time.Parse(time.RFC3339, since)
	if err != nil {
		fmt.Fprintln(os.Stderr, "firstboot unlock: --since wants the time that was shown")
		return errUsage
	}
	who, err := book.Approve(f.Arg(0), at, time.Now())
	return printAsking(who, err)
}

func printAsking(who *vault.Asking, err error) error {
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(who)
}

func revokeNode(_ context.Context, _ firstboot.Host, args []string) error {
	only := false
	f, err := parse("revoke", args, func(f *flag.FlagSet) {
		f.BoolVar(&only, "only", false, "refuse only the shares of these members, because another machine has the name by now")
	})
	if err != nil {
		return err
	}
	if f.NArg() < 1 || only && f.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "firstboot revoke: name a NODE, with --only its NUMBERs in the tailnet, too")
		return errUsage
	}
	return book.Revoke(f.Arg(0), f.Args()[1:], only)
}
