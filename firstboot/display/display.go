// Package display shows a node's status wherever a person or a program may
// look: on the screen, on serial consoles, in the journal, in a file on the
// boot partition, in a file in /run, and on the board's activity light.
//
// No place is essential: one that is missing or broken is skipped, and the
// reason is reported once in the journal. Places that wear out are spared: the
// journal and the boot partition accept some dozens of updates at once, and
// then one every twelve minutes. The package never decides what to show.
package display

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Display has the places of one node.
type Display struct {
	files   firstboot.Files
	clock   firstboot.Clock
	root    string
	journal io.Writer

	mu       sync.Mutex
	last     *firstboot.Status
	asked    int
	lines    spared // the journal and the serial consoles
	card     spared // the boot partition
	led      firstboot.State
	complain map[string]string
}

// New makes the display of a node whose /sys and /dev are below root. journal
// is the standard output of the service.
func New(files firstboot.Files, clock firstboot.Clock, root string, journal io.Writer) *Display {
	return &Display{files: files, clock: clock, root: root, journal: journal,
		lines: spared{savings: 60 * interval}, card: spared{savings: 24 * interval}}
}

// Show puts a status in all places. It is safe for concurrent use.
func (d *Display) Show(s firstboot.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil || s.Asked != d.asked {
		d.asked = s.Asked
		d.lines.hurry()
		d.card.hurry()
	}
	d.last = &s
	d.place("the screen", d.paint())
	d.place(firstboot.StatusJSON, d.files.Put(firstboot.StatusJSON, bytes.NewReader(s.JSON()), firstboot.Attr{Mode: 0o644}))
	if s.State != d.led {
		d.led = s.State
		d.place("the light", d.light(s.State))
	}
	d.tell()
	if !passing(s) {
		d.tellCard()
	}
}

// Refresh paints the last status on the screen again, as the kernel and others
// write there, too. It also updates the places that had to wait.
func (d *Display) Refresh() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.place("the screen", d.paint())
	d.tell()
	d.tellCard()
}

// Close writes the newest status to the boot partition: the node is being
// switched off, perhaps to read it there.
func (d *Display) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.card.hurry()
	d.tellCard()
}

// tell writes to the journal and the serial consoles.
func (d *Display) tell() {
	if d.last == nil {
		return
	}
	s := d.last.Lasting()
	n := news{s.Line(), s.Brief()}
	if d.lines.due(d.clock.Now(), n) {
		d.lines.there = n
		fmt.Fprintln(d.journal, s.Line()+cause(s))
		d.place("the serial console", d.serial(s.Line()))
	}
}

// tellCard writes to the boot partition. A new time alone is no reason to
// write. A step that is being done can wait; a problem, or the end of one,
// cannot.
func (d *Display) tellCard() {
	if d.last == nil {
		return
	}
	s := d.last.Lasting()
	n := news{string(s.Text()), s.Brief()}
	if passing(s) {
		n.brief = ""
	}
	if d.card.due(d.clock.Now(), n) {
		s.Time, s.Checked = d.last.Time, d.last.Checked
		if err := d.statusText(s.Text()); d.place(firstboot.StatusText, err) == nil {
			d.card.there = n
		}
	}
}

// passing reports whether a status is likely to be over in a moment.
func passing(s firstboot.Status) bool { return s.State == firstboot.Working && s.Problem == nil }

// cause returns the technical reason, which goes to the journal only.
func cause(s firstboot.Status) string {
	if s.Problem == nil {
		return ""
	}
	if why := s.Problem.Error(); why != s.Problem.Summary {
		return " (" + strings.Join(strings.Fields(why), " ") + ")"
	}
	return ""
}

// place reports a place that fails in the journal, once for every reason, and
// returns err.
func (d *Display) place(name string, err error) error {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if d.complain == nil {
		d.complain = map[string]string{}
	}
	if why != "" && d.complain[name] != why {
		fmt.Fprintf(d.journal, "firstboot: cannot show the status on %s: %s\n", name, why)
	}
	d.complain[name] = why
	return err
}

// paint fills the screen at its real size: with a large font, which helps
// people to read it out over the phone, a small screen has fewer than 80
// columns.
func (d *Display) paint() error {
	if d.last == nil {
		return nil
	}
	f, err := d.open("tty1")
	if f == nil {
		return err
	}
	_, err = f.Write(d.last.Screen(size(f)))
	return firstError(err, f.Close())
}

// open opens a terminal without waiting for it and without making it the
// controlling one. It returns nil if there is no such terminal.
func (d *Display) open(name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(d.root, "dev", name), os.O_WRONLY|noWait, 0)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *Display) device(name string, data []byte) error {
	f, err := d.open(name)
	if f == nil {
		return err
	}
	_, err = f.Write(data)
	return firstError(err, f.Close())
}

// serial writes a line to each of the kernel's consoles except the screen.
func (d *Display) serial(line string) error {
	active, err := os.ReadFile(filepath.Join(d.root, "sys/class/tty/console/active"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, tty := range strings.Fields(string(active)) {
		if tty == "tty0" || tty == "tty1" || strings.Contains(tty, "/") {
			continue
		}
		err = firstError(err, d.device(tty, []byte("\r\n"+line+"\r\n")))
	}
	return err
}

func (d *Display) statusText(text []byte) error {
	return firstboot.Lay(d.files, firstboot.StatusText, node.PadStatus(text))
}

// light uses the Pi's activity light: heartbeat while working or waiting, fast
// blinking when a person is needed, steady when joined. A Pi 400 has one light
// only, which its device tree calls PWR.
func (d *Display) light(s firstboot.State) error {
	for _, name := range []string{"ACT", "led0", "PWR"} { // the first two depend on the kernel
		dir := filepath.Join(d.root, "sys/class/leds", name)
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		for _, set := range lights[s] {
			if err := os.WriteFile(filepath.Join(dir, set[0]), []byte(set[1]), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

// lights are values for the files of Documentation/leds/leds-class.rst.
// delay_on and delay_off exist only after the trigger is set.
var lights = map[firstboot.State][][2]string{
	firstboot.Working:     {{"trigger", "heartbeat"}},
	firstboot.Waiting:     {{"trigger", "heartbeat"}},
	firstboot.NeedsPerson: {{"trigger", "timer"}, {"delay_on", "100"}, {"delay_off", "100"}},
	firstboot.Joined:      {{"trigger", "none"}, {"brightness", "1"}},
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
