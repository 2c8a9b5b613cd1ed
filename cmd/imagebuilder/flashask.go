package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/going-mobile/imagebuilder/image/flash"
)

// asker finds out which device becomes a node's card.
type asker struct {
	cmd        *cobra.Command
	yes, force bool
	// hint is how a device is named on the command line.
	hint string
}

// target returns the target of a node's card. Devices look alike: the name is
// typed by hand unless --yes. A file takes nobody's data.
func (a *asker) target(node, target string) (string, error) {
	all, err := flash.Devices(a.cmd.Context())
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(all, func(d flash.Device) bool { return d.Path == target })
	if target != "" && (at < 0 || a.yes) {
		return target, nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		if target == "" {
			return "", usagef("name the device: %s; 'imagebuilder flash --list' lists devices", cmp.Or(a.hint, "--node "+node+"=DEVICE"))
		}
		return "", usagef("%s would be overwritten: say --yes", all[at])
	}
	offered := all
	if target != "" {
		offered = all[at : at+1]
	}
	return a.choose(node, offered)
}

// choose shows the devices that can be written to, and what is on them.
func (a *asker) choose(node string, devices []flash.Device) (string, error) {
	offered := slices.DeleteFunc(slices.Clone(devices), func(d flash.Device) bool { return d.Check(-1, a.force) != nil })
	if len(offered) == 0 {
		return "", errors.New("there is no card or stick that can be written to; 'imagebuilder flash --list' lists all disks and what is against them")
	}
	out := a.cmd.ErrOrStderr()
	if err := printDevices(out, offered, a.force); err != nil {
		return "", err
	}
	typed, err := ask(a.cmd.Context(), a.cmd, fmt.Sprintf("All data on it will be lost. Type the device's name to make it the card of %s: ", node))
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(offered, func(d flash.Device) bool { return d.Path == typed }) {
		return "", fmt.Errorf("%q is not the name of a device shown here; nothing was written", typed)
	}
	return typed, nil
}

func printDevices(out io.Writer, devices []flash.Device, force bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DEVICE\tSIZE\tBUS\tMODEL\tHOLDS\tUSABLE")
	for _, d := range devices {
		usable := "yes"
		if err := d.Check(-1, force); err != nil {
			usable = err.Error()
		}
		fmt.Fprintf(w, "%s\t%.1f GB\t%s\t%s\t%s\t%s\n", d.Path, float64(d.Size)/1e9, d.Bus, d.Model, strings.Join(d.Contents, ", "), usable)
	}
	return w.Flush()
}
