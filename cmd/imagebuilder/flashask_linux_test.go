package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/flash"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/flock/flocktest"
)

// loop is a disk, by its kernel name and by another.
func loop(t *testing.T) (dev, link string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loop devices need root: run the tests as root")
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "-f", "--show", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	dev, link = strings.TrimSpace(string(out)), filepath.Join(t.TempDir(), "usb-SanDisk")
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", dev).Run() })
	if err := os.Symlink(dev, link); err != nil {
		t.Fatal(err)
	}
	return dev, link
}

// TestADeviceIsAskedForByAnyName: a device is recognised, and refused, by any of its names;
// only a file is not a device.
func TestADeviceIsAskedForByAnyName(t *testing.T) {
	dev, link := loop(t)
	for _, name := range []string{dev, "/" + dev, link} {
		a := asker{cmd: asking(strings.NewReader(dev)), force: true}
		if c, err := a.card("cabin-pi", name); err == nil || !strings.Contains(err.Error(), dev+" (1.0 MB) would be overwritten: say --yes") {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		a.yes = true
		if c, err := a.card("cabin-pi", name); err != nil || c.Target != dev || c.Device.Path != dev || c.Device.Size != 1<<20 {
			t.Errorf("%s, with --yes: %+v, %v", name, c, err)
		}
		a.force = false
		if c, err := a.card("cabin-pi", name); err == nil || !strings.Contains(err.Error(), "is built in") {
			t.Errorf("%s, without --force: %+v, %v", name, c, err)
		}
	}
	file := filepath.Join(t.TempDir(), "card.img")
	if c, err := (&asker{cmd: asking(strings.NewReader(""))}).card("cabin-pi", file); err != nil || c.Target != file || c.Device.Path != "" {
		t.Errorf("a file: %+v, %v", c, err)
	}
}

// TestADeviceOfSomebodyElseIsRefused at once, not after the build, or after the dead node was
// removed.
func TestADeviceOfSomebodyElseIsRefused(t *testing.T) {
	dev, _ := loop(t)
	flocktest.BeUser(t)
	a := asker{cmd: asking(strings.NewReader("")), yes: true, force: true}
	if c, err := a.card("cabin-pi", dev); err == nil || !strings.Contains(err.Error(), "open "+dev+": permission denied; run it with sudo") {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestADeviceIsOneCard, whatever it is called.
func TestADeviceIsOneCard(t *testing.T) {
	dev, link := loop(t)
	t.Setenv("TOKEN", "K10abc::server:def")
	f, err := fleet.Load(filepath.Join(t.TempDir(), fleet.FileName), []byte(twoNodes), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := nodeCards{wanted: []nodeDevice{{"home-pi", dev}, {"cabin-pi", link}}, yes: true, opt: flash.Options{Force: true}}
	if cards, err := n.cards(asking(strings.NewReader("")), f, nil); err == nil || !strings.Contains(err.Error(), dev+" is named twice") {
		t.Errorf("%+v, %v", cards, err)
	}
}

const twoNodes = `version: 1
cluster:
  name: shed
  headscale: {url: "https://hs.example.org", apiKey: {env: HEADSCALE_API_KEY}}
  k3s: {token: {env: TOKEN}}
sites: {home: {}, cabin: {}}
nodes: {home-pi: {board: rpi4, site: home, role: server}, cabin-pi: {board: rpi4, site: cabin, role: server}}
`
