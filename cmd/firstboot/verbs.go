//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/display"
	"github.com/going-mobile/imagebuilder/firstboot/doctor"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/k3sdata"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/page"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// refreshEvery is how often the screen is redrawn.
const refreshEvery = 10 * time.Second

func runAll(ctx context.Context, h firstboot.Host, args []string) error {
	if err := flags("run", args, nil); err != nil {
		return err
	}
	reached(h, "The system runs: STATUS.TXT says how it goes on.")
	d := display.New(h.Files, h.Clock, "/", os.Stdout)
	defer d.Close()
	go func() {
		for h.Clock.Sleep(ctx, refreshEvery) == nil {
			d.Refresh()
		}
	}()
	err := firstboot.Run(ctx, h, firstboot.Options{Version: version, Slot: host.Slots{}.Running()}, d.Show)
	if errors.Is(err, context.Canceled) { // systemd stops the service
		return nil
	}
	return err
}

// runIdentity leaves complaints to run: at this moment nobody could read them, and logins must
// start in any case.
func runIdentity(ctx context.Context, h firstboot.Host, args []string) error {
	if err := flags("identity", args, nil); err != nil {
		return err
	}
	reached(h, "The system starts its services.")
	err := firstboot.Run(ctx, h, firstboot.Options{Version: version, Only: []string{"identity", "longhorn"}}, func(firstboot.Status) {})
	var p *firstboot.Problem
	if errors.As(err, &p) {
		fmt.Printf("firstboot: %s: %s\n", p.Code, p.Summary)
		return nil
	}
	return err
}

// reached records progress on the boot partition. An error does not fail the start.
func reached(h firstboot.Host, words string) {
	if err := h.Reached(words); err != nil {
		fmt.Println("firstboot:", err)
	}
}

func keepFirewall(ctx context.Context, h firstboot.Host, args []string) error {
	if err := flags("firewall", args, nil); err != nil {
		return err
	}
	// Only faults are reported: "<3>" makes them errors in the journal, sd-daemon(3).
	err := firstboot.Guard(ctx, h, func(s string) { fmt.Println("<3>firstboot:", s) })
	if errors.Is(err, context.Canceled) { // systemd stops the service
		return nil
	}
	return err
}

func servePage(ctx context.Context, h firstboot.Host, args []string) error {
	if err := flags("page", args, nil); err != nil {
		return err
	}
	l, err := net.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	return page.Serve(ctx, h, l)
}

func printStatus(_ context.Context, h firstboot.Host, args []string) error {
	asJSON := false
	if err := flags("status", args, func(f *flag.FlagSet) { f.BoolVar(&asJSON, "json", false, "as JSON") }); err != nil {
		return err
	}
	s, err := firstboot.ReadStatus(h.Files)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("no status yet: is firstboot.service running?")
	}
	if err != nil {
		return err
	}
	if asJSON {
		s.Boot = host.Slots{}.Boot(h.Files)
		_, err = os.Stdout.Write(s.JSON())
		return err
	}
	_, err = fmt.Println(strings.Join(s.Lines(78), "\n"))
	return err
}

func retry(_ context.Context, h firstboot.Host, args []string) error {
	if err := flags("retry", args, nil); err != nil {
		return err
	}
	return firstboot.Retry(h.Files, h.Clock)
}

func takeKey(_ context.Context, h firstboot.Host, args []string) error {
	if err := flags("key", args, nil); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(os.Stdin, 4<<10))
	if err != nil {
		return err
	}
	return firstboot.TakeKey(h.Files, h.Clock, secret.String(strings.TrimSpace(string(text))))
}

// takeOffer only stores what was offered: the service acts on it a moment later.
func takeOffer(ctx context.Context, h firstboot.Host, args []string) error {
	try := false
	if err := flags("offer", args, func(f *flag.FlagSet) { f.BoolVar(&try, "try", false, "only print what it would change") }); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(os.Stdin, node.ReservedSize+1))
	if err != nil {
		return err
	}
	if !try {
		return firstboot.Give(ctx, h, text)
	}
	p, err := firstboot.Foresee(ctx, h, text)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p)
}

func runDoctor(ctx context.Context, h firstboot.Host, args []string) error {
	asJSON := false
	if err := flags("doctor", args, func(f *flag.FlagSet) { f.BoolVar(&asJSON, "json", false, "as JSON") }); err != nil {
		return err
	}
	host.LikeUnits("/")
	found := doctor.Examine(ctx, h)
	text := doctor.Table(found)
	if asJSON {
		text = doctor.JSON(found)
	}
	if _, err := fmt.Print(text); err != nil {
		return err
	}
	if !doctor.Fit(found) {
		return errors.New("something this node needs is missing")
	}
	return nil
}

func checkSlot(ctx context.Context, h firstboot.Host, args []string) error {
	if err := flags("check-slot", args, nil); err != nil {
		return err
	}
	return firstboot.CheckSlot(ctx, h, host.Slots{}.Running())
}

func health(ctx context.Context, h firstboot.Host, args []string) error {
	p := firstboot.Proof{}
	err := flags("health", args, func(f *flag.FlagSet) {
		f.DurationVar(&p.Join, "timeout", 10*time.Minute, "give up when the node has not joined after this long")
		f.DurationVar(&p.Soak, "soak", 3*time.Minute, "a system on trial must be well for this long")
	})
	if err != nil {
		return err
	}
	return firstboot.Health(ctx, h, p)
}

func bless(ctx context.Context, h firstboot.Host, args []string) error {
	if err := flags("bless", args, nil); err != nil {
		return err
	}
	if err := h.Slot.Bless(ctx); err != nil {
		return err
	}
	verdict, err := host.Slots{}.Verdict()
	fmt.Print(verdict)
	return err
}

func keepK3sData(_ context.Context, _ firstboot.Host, args []string) error {
	mark := false
	err := flags("k3s-data", args, func(f *flag.FlagSet) {
		f.BoolVar(&mark, "mark", false, "k3s runs: make sure that what it has unpacked survives a power cut")
	})
	switch {
	case err != nil:
		return err
	case mark:
		return k3sdata.Mark(k3sdata.Dir)
	}
	return k3sdata.Prune(k3sdata.Dir, "/run/imagebuilder/k3s-data")
}

func waitTailnet(ctx context.Context, h firstboot.Host, args []string) error {
	d, err := limit("wait-tailnet", args, 90*time.Second)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if err := firstboot.WaitTailnet(ctx, h.Tailnet, h.Clock); err != nil {
		return err
	}
	return firstboot.CheckServer(ctx, h)
}
