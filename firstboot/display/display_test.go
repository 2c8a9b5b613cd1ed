//go:build linux

package display_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/display"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

type clock struct{ firstboot.Clock }

func (clock) Now() time.Time { return time.Now() }

func write(t *testing.T, root, name, content string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEverywhere(t *testing.T) {
	root := t.TempDir()
	for _, tty := range []string{"tty1", "ttyS0", "ttyAMA0"} {
		write(t, root, "dev/"+tty, "")
	}
	write(t, root, "sys/class/tty/console/active", "tty0 ttyS0\n")
	for _, f := range []string{"trigger", "brightness", "delay_on", "delay_off"} {
		write(t, root, "sys/class/leds/ACT/"+f, "")
	}
	var journal bytes.Buffer
	d := display.New(host.Files{Root: root}, clock{}, root, &journal)
	s := firstboot.Status{State: firstboot.NeedsPerson, Node: "home-pi", Site: "home", Role: "agent", Step: "tailnet",
		Time: time.Unix(0, 0).UTC(), Problem: &firstboot.Problem{Code: "key-spent", Summary: "The key was used.", Remedy: "Make a new one.", Person: true}}
	d.Show(s)
	for name, want := range map[string][]string{
		"dev/tty1":                    {"PLEASE HELP", "home-pi", "The key was used.", "\x1b[2J"},
		"dev/ttyS0":                   {"firstboot: needs-person", "problem=key-spent"},
		"boot/firmware/STATUS.TXT":    {"PLEASE HELP", "The key was used.", "\r\n"},
		"run/firstboot/status.json":   {`"state": "needs-person"`, `"code": "key-spent"`},
		"sys/class/leds/ACT/trigger":  {"timer"},
		"sys/class/leds/ACT/delay_on": {"100"},
	} {
		have := read(t, root, name)
		for _, w := range want {
			if !strings.Contains(have, w) {
				t.Errorf("%s lacks %q:\n%s", name, w, have)
			}
		}
	}
	if len(read(t, root, "boot/firmware/STATUS.TXT")) != node.StatusSize {
		t.Error("STATUS.TXT has another length")
	}
	if read(t, root, "dev/ttyAMA0") != "" {
		t.Error("a terminal that is no console was written to")
	}
	lines := strings.Count(journal.String(), "\n")
	d.Show(s)
	if strings.Count(journal.String(), "\n") != lines {
		t.Error("the journal repeats itself")
	}
	before, _ := os.Stat(filepath.Join(root, "boot/firmware/STATUS.TXT"))
	d.Show(firstboot.Status{State: firstboot.Joined, Node: "home-pi"})
	after, _ := os.Stat(filepath.Join(root, "boot/firmware/STATUS.TXT"))
	if !os.SameFile(before, after) || strings.Contains(read(t, root, "boot/firmware/STATUS.TXT"), "PLEASE HELP") {
		t.Error("STATUS.TXT was not overwritten in place")
	}
	if read(t, root, "sys/class/leds/ACT/trigger") != "none" || read(t, root, "sys/class/leds/ACT/brightness") != "1" {
		t.Error("the light is not steady")
	}
}

// TestTheOnlyLight: a Pi 400 has no ACT, and its PWR blinks; a Pi 4 has both, and its PWR
// tells of power alone.
func TestTheOnlyLight(t *testing.T) {
	for blinks, lights := range map[string][]string{"PWR": {"PWR"}, "ACT": {"ACT", "PWR"}, "led0": {"led0", "PWR"}} {
		root := t.TempDir()
		for _, name := range lights {
			for _, f := range []string{"trigger", "brightness", "delay_on", "delay_off"} {
				write(t, root, "sys/class/leds/"+name+"/"+f, "")
			}
		}
		display.New(host.Files{Root: root}, clock{}, root, io.Discard).Show(firstboot.Status{State: firstboot.NeedsPerson, Node: "home-pi"})
		for _, name := range lights {
			if have := read(t, root, "sys/class/leds/"+name+"/trigger") == "timer"; have != (name == blinks) {
				t.Errorf("of the lights %v, %s blinks: %v", lights, name, have)
			}
		}
	}
}

// TestNothingThere: no screen, no light, no boot partition to write to.
func TestNothingThere(t *testing.T) {
	root := t.TempDir()
	write(t, root, "boot/firmware", "a file where a directory belongs")
	var journal bytes.Buffer
	d := display.New(host.Files{Root: root}, clock{}, root, &journal)
	d.Show(firstboot.Status{State: firstboot.Working})
	d.Show(firstboot.Status{State: firstboot.Waiting})
	if n := strings.Count(journal.String(), "cannot show the status on /boot/firmware/STATUS.TXT"); n != 1 {
		t.Errorf("told %d times:\n%s", n, journal.String())
	}
}
