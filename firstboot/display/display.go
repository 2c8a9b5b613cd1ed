// Package display shows a node's status wherever a person or a program may
// look: the screen, serial consoles, the journal, a file on the boot
// partition, a file in /run, the board's activity light.
//
// No place is needed: one that is missing or broken is passed over, and the
// reason told once in the journal. It never decides what to show.
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
	Files   firstboot.Files
	Root    string    // of /sys and /dev
	Journal io.Writer // standard output of the service

	mu       sync.Mutex
	line     string // shown last
	text     string
	led      firstboot.State
	last     *firstboot.Status
	complain map[string]string
}

// Show puts a status everywhere. It is safe for concurrent use.
func (d *Display) Show(s firstboot.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = &s
	d.place("the screen", d.paint())
	if line := s.Line(); line != d.line {
		d.line = line
		fmt.Fprintln(d.Journal, line+cause(s))
		d.place("the serial console", d.serial(line))
	}
	d.place(firstboot.StatusJSON, d.Files.Put(firstboot.StatusJSON, bytes.NewReader(s.JSON()), firstboot.Attr{Mode: 0o644}))
	if key := s.Line() + strings.Join(s.Addresses, " "); key != d.text {
		err := d.statusText(s.Text())
		if d.place(firstboot.StatusText, err); err == nil {
			d.text = key
		}
	}
	if s.State != d.led {
		d.led = s.State
		d.place("the light", d.light(s.State))
	}
}

// Repaint puts the last status on the screen again: the kernel and others
// write there too.
func (d *Display) Repaint() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.place("the screen", d.paint())
}

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
func (d *Display) place(name string, err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if d.complain == nil {
		d.complain = map[string]string{}
	}
	if why != "" && d.complain[name] != why {
		fmt.Fprintf(d.Journal, "firstboot: cannot show the status on %s: %s\n", name, why)
	}
	d.complain[name] = why
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
	f, err := os.OpenFile(filepath.Join(d.Root, "dev", name), os.O_WRONLY|noWait, 0)
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
	active, err := os.ReadFile(filepath.Join(d.Root, "sys/class/tty/console/active"))
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
	padded := node.PadStatus(text)
	fi, err := d.Files.Stat(firstboot.StatusText)
	if err == nil && fi.Size() == node.StatusSize {
		return d.Files.Overwrite(firstboot.StatusText, padded)
	}
	return d.Files.Put(firstboot.StatusText, bytes.NewReader(padded), firstboot.Attr{Mode: 0o644})
}

// light speaks through the Pi's activity light: heartbeat while working, a
// quick blink when a person is needed, steady when joined.
func (d *Display) light(s firstboot.State) error {
	for _, name := range []string{"ACT", "led0"} { // kernels name it either way
		dir := filepath.Join(d.Root, "sys/class/leds", name)
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
