package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/card"
	"github.com/going-mobile/imagebuilder/image/flash"
)

// asker finds out to which device or file a node's card is written.
type asker struct {
	cmd        *cobra.Command
	yes, force bool
	// hint is how to name a device on the command line.
	hint string
}

// card finds out where a node's card is written. Devices look alike, so the device's name
// has to be typed by hand unless --yes is given. A file is refused if writing it would
// destroy data. Only the system can tell whether a target is a device, and which one, as
// each device has many names.
func (a *asker) card(node, target string) (card.Card, error) {
	if target == "" {
		return a.askFor(node)
	}
	d, err := flash.Lookup(a.cmd.Context(), target)
	if err != nil {
		return card.Card{}, err
	}
	if d == nil {
		return card.Card{Node: node, Target: target}, flash.CheckFile(target, a.force)
	}
	if err := d.Check(-1, a.force); err != nil {
		return card.Card{}, err
	}
	if err := d.MayWrite(); err != nil { // before a build that takes many minutes
		return card.Card{}, err
	}
	if a.yes {
		return card.Card{Node: node, Target: d.Path, Device: *d}, nil
	}
	if !atTerminal() {
		return card.Card{}, usagef("%s would be overwritten: say --yes", d)
	}
	return a.choose(node, []flash.Device{*d})
}

// askFor asks for a target, if none was named.
func (a *asker) askFor(node string) (card.Card, error) {
	if !atTerminal() {
		return card.Card{}, usagef("name the device: %s; 'imagebuilder flash --list' lists devices", cmp.Or(a.hint, "--node "+node+"=DEVICE"))
	}
	all, err := flash.Devices(a.cmd.Context())
	if err != nil {
		return card.Card{}, err
	}
	c, err := a.choose(node, all)
	if err != nil {
		return card.Card{}, err
	}
	return c, c.Device.MayWrite()
}

// choose shows the devices that can be written to, and what is on them. The user agrees to
// the device as it was shown.
func (a *asker) choose(node string, devices []flash.Device) (card.Card, error) {
	offered := slices.DeleteFunc(slices.Clone(devices), func(d flash.Device) bool { return d.Check(-1, a.force) != nil })
	if len(offered) == 0 {
		return card.Card{}, a.noneOffered(devices)
	}
	out := a.cmd.ErrOrStderr()
	if err := printDevices(out, offered, a.force); err != nil {
		return card.Card{}, err
	}
	typed, err := ask(a.cmd.Context(), a.cmd, fmt.Sprintf("All data on it will be lost. Type the device's name to make it the card of %s: ", node))
	if err != nil {
		return card.Card{}, err
	}
	at := slices.IndexFunc(offered, func(d flash.Device) bool { return d.Path == typed })
	if at < 0 {
		return card.Card{}, fmt.Errorf("%q is not the name of a device shown here; nothing was written", typed)
	}
	return card.Card{Node: node, Target: typed, Device: offered[at]}, nil
}

// noneOffered says why nothing can be written to. Desktops mount a card as soon as it is put
// in, so that is told with the way out.
func (a *asker) noneOffered(devices []flash.Device) error {
	var mounted []error
	for _, d := range devices {
		if d.Removable && !d.System && len(d.Mounts) > 0 {
			mounted = append(mounted, d.Check(-1, a.force))
		}
	}
	if len(mounted) > 0 {
		return errors.Join(mounted...)
	}
	return errors.New("there is no card or stick that can be written to; 'imagebuilder flash --list' lists all disks, and why they cannot be used")
}

func printDevices(out io.Writer, devices []flash.Device, force bool) error {
	w := newTable(out)
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

// listedDevice is a device in the JSON of --list.
type listedDevice struct {
	Device   string   `json:"device"`
	Size     int64    `json:"size"` // in bytes
	Bus      string   `json:"bus"`
	Model    string   `json:"model"`
	Serial   string   `json:"serial"`
	Contents []string `json:"contents"`
	Usable   bool     `json:"usable"`
	WhyNot   string   `json:"whyNot,omitempty"`
}

func listed(devices []flash.Device, force bool) []listedDevice {
	all := []listedDevice{} // a list, even if empty
	for _, d := range devices {
		l := listedDevice{Device: d.Path, Size: d.Size, Bus: d.Bus, Model: d.Model, Serial: d.Serial, Contents: append([]string{}, d.Contents...), Usable: true}
		if err := d.Check(-1, force); err != nil {
			l.Usable, l.WhyNot = false, err.Error()
		}
		all = append(all, l)
	}
	return all
}
