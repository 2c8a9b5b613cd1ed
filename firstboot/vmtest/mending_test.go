//go:build vm && linux

package vmtest

import (
	"os"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// TestMending breaks a node so that nobody can log in to it: its disk is too
// small, and its network is a VLAN that does not exist. What to do stands on
// the card, as a laptop reads it, and is done there.
func TestMending(t *testing.T) {
	tn := newTailnet(t)
	m := newMachine(t, "generic-amd64", image(t, "generic-amd64"))
	m.config.DiskSize = 6 * gib
	cfg := tn.first("home-pi")
	cfg.Network.Interfaces = []node.Interface{{Name: "enp0s4", VLAN: 5}}
	m.personalise(cfg)
	m.powerOn()
	m.seeProblem("disk-too-small")
	m.unplug("The disk is too small", "Use a larger card or disk.")

	if err := os.Truncate(m.disk(), 8*gib); err != nil {
		t.Fatal(err)
	}
	m.powerOn()
	m.seeProblem("no-dhcp")
	m.screenshot("no-dhcp")
	m.unplug("gives this node no address (no answer from DHCP on", "switch the router off and on")

	cfg.Network.Interfaces = nil
	m.personalise(cfg)
	m.powerOn()
	t.Logf("mended: joined after %v", m.seeJoined())
	if _, ok := tn.nodes()["home-pi"]; !ok || tn.unused() != 0 {
		t.Errorf("the tailnet has %v, %d keys are unused", tn.nodes(), tn.unused())
	}
}

// unplug switches the machine off by its button and reads the card.
func (m *machine) unplug(words ...string) {
	m.t.Helper()
	if err := m.PressPower(); err != nil {
		m.t.Fatal(err)
	}
	m.bounded(m.Wait)
	text := strings.Join(strings.Fields(m.bootFile("STATUS.TXT")), " ")
	for _, want := range append(words, "PLEASE HELP", "home-pi", "site-a") {
		if !strings.Contains(text, want) {
			m.t.Errorf("STATUS.TXT lacks %q:\n%s", want, text)
		}
	}
}
