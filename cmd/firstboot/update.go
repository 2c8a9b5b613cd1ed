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

// updateFlags are the flags of "firstboot update".
type updateFlags struct {
	json, reboot, back bool
	id                 string
	from               int64
	file               string
}

func parseUpdate(args []string) (u updateFlags, err error) {
	f, err := parse("update", args, func(f *flag.FlagSet) {
		f.BoolVar(&u.json, "json", false, "as JSON")
		f.BoolVar(&u.reboot, "reboot", false, "restart the node when the update is in place")
		f.BoolVar(&u.back, "rollback", false, "try the system before the last update")
		f.StringVar(&u.id, "id", "", "sha256 of an update that is sent in pieces; without FILE, print how much of it is here, or what became of it")
		f.Int64Var(&u.from, "from", 0, "with --id: how many bytes of the update are here already")
	})
	u.file = f.Arg(0)
	if err == nil && (f.NArg() > 1 || f.NArg() == 0 && !u.back && u.id == "" || f.NArg() == 1 && u.back || u.id != "" && u.file != "" && u.file != "-") {
		fmt.Fprintln(os.Stderr, "firstboot update: name one FILE, or - for standard input, or --rollback; with --id only -")
		err = errUsage
	}
	return u, err
}

func applyUpdate(ctx context.Context, h firstboot.Host, args []string) error {
	u, err := parseUpdate(args)
	if err != nil {
		return err
	}
	if u.id != "" && u.file == "" {
		progress, err := update.Progress(host.Spool{Dir: host.SpoolDir}, u.id)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(progress)
	}
	result, err := u.run(ctx, h)
	if err != nil {
		return err
	}
	if err := printUpdate(result, u.json, u.reboot); err != nil || !u.reboot || !result.Installed {
		return err
	}
	return h.Reboot(ctx)
}

func (u updateFlags) run(ctx context.Context, h firstboot.Host) (*update.Result, error) {
	switch {
	case u.back:
		return update.Rollback(ctx, h, host.Slots{})
	case u.id != "":
		return update.Receive(ctx, h, host.Slots{}, host.Spool{Dir: host.SpoolDir}, u.id, u.from, os.Stdin)
	}
	return readUpdate(ctx, h, u.file)
}

func readUpdate(ctx context.Context, h firstboot.Host, name string) (*update.Result, error) {
	in, size, err := openUpdate(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return update.Apply(ctx, h, host.Slots{}, host.Spool{Dir: host.SpoolDir}, in, size)
}

// openUpdate also returns the size in bytes, -1 if it is unknown.
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
