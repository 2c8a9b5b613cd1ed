// Package display shows a node's status wherever a person or a program may
// look: the screen, serial consoles, the journal, a file on the boot
// partition, a file in /run, the board's activity light.
//
// No place is needed: one that is missing or broken is passed over, and the
// reason told once in the journal. What wears out is spared: the boot partition
// and the journal take some dozens of news at once and else one every twelve
// minutes. It never decides what to show.
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

// Display is the places of one node.
type Display struct {
	files   firstboot.Files
	clock   firstboot.Clock
	root    string
	journal io.Writer

	mu       sync.Mutex
	last     *firstboot.Status
	asked    int
	lines    spared // in the journal and on serial lines
	card     spared // the boot partition
	led      firstboot.State
	complain map[string]string
}

// New makes the display of a node with /sys and /dev below root. The journal is
// the standard output of the service.
func New(files firstboot.Files, clock firstboot.Clock, root string, journal io.Writer) *Display {
	return &Display{files: files, clock: clock, root: root, journal: journal,
		lines: spared{savings: 60 * interval}, card: spared{savings: 24 * interval}}
}

// Show puts a status everywhere. It is safe for concurrent use.
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

// Refresh puts the last status on the screen again, as the kernel and others
// write there too, and brings the places that had to wait up to date.
func (d *Display) Refresh() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.place("the screen", d.paint())
	d.tell()
	d.tellCard()
}

// Close leaves the newest truth on the boot partition: the node is being
// switched off, perhaps to read it.
func (d *Display) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.card.hurry()
	d.tellCard()
}

// tell writes to the journal and serial lines.
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

// tellCard writes to the boot partition. Times are no news. What is being done
// can wait; a problem, and that there is none any more, cannot.
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

// passing is a status that is often over in a moment.
func passing(s firstboot.Status) bool { return s.State == firstboot.Working && s.Problem == nil }

// cause is the technical reason, for the journal alone.
func cause(s firstboot.Status) string {
	if s.Problem == nil {
		return ""
	}
	if why := s.Problem.Error(); why != s.Problem.Summary {
		return " (" + strings.Join(strings.Fields(why), " ") + ")"
	}
	return ""
}

// place tells the journal of a place that fails, once for every reason.
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

// paint fills the screen as large as it is: a font for people who read it out
// over the phone leaves a small one fewer than 80 columns.
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

// open opens a terminal without ever waiting for it or making it ours. There
// is nil where there is none.
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

// serial writes a line to every console of the kernel but the screen.
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

// light speaks through the Pi's activity light: heartbeat while working, a
// quick blink when a person is needed, steady when joined.
func (d *Display) light(s firstboot.State) error {
	for _, name := range []string{"ACT", "led0"} { // kernels name it either way
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
