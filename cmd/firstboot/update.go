//go:build linux

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/update"
)

func applyUpdate(ctx context.Context, h firstboot.Host, args []string) error {
	asJSON, reboot, back := false, false, false
	f, err := parse("update", args, func(f *flag.FlagSet) {
		f.BoolVar(&asJSON, "json", false, "as JSON")
		f.BoolVar(&reboot, "reboot", false, "restart the node when the update is in place")
		f.BoolVar(&back, "rollback", false, "try the system before the last update")
	})
	if err == nil && back != (f.NArg() == 0) || f.NArg() > 1 {
		fmt.Fprintln(os.Stderr, "firstboot update: name one FILE, or - for standard input, or --rollback")
		err = errUsage
	}
	if err != nil {
		return err
	}
	var result *update.Result
	if back {
		result, err = update.Rollback(ctx, h, host.Slots{})
	} else {
		result, err = readUpdate(ctx, h, f.Arg(0))
	}
	if err != nil {
		return err
	}
	if err := printUpdate(result, asJSON, reboot); err != nil || !reboot || !result.Installed {
		return err
	}
	_, err = h.Programs.Run(ctx, "systemctl", "--no-block", "reboot")
	return err
}

func readUpdate(ctx context.Context, h firstboot.Host, name string) (*update.Result, error) {
	in, size, err := openUpdate(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return update.Apply(ctx, h, host.Slots{}, in, size)
}

// openUpdate also tells the size, -1 of what only its end shows.
func openUpdate(name string) (*os.File, int64, error) {
	if name == "-" {
		return os.Stdin, -1, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return f, -1, err
	}
	return f, fi.Size(), nil
}

func printUpdate(r *update.Result, asJSON, reboot bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	then := ""
	if r.Installed && !reboot {
		then = ": restart the node now (systemctl reboot)"
	}
	_, err := fmt.Println(r.String() + then)
	return err
}
