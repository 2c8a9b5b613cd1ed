//go:build vm && linux

package vmtest

import (
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/qemu"
)

// TestLink breaks the network of a joined node: somebody pulls the cable and plugs it in again;
// then the port sends nothing any more although its light is on, as on a Pi 4, until the port is
// switched off and on, which the node does.
func TestLink(t *testing.T) {
	tn := newTailnet(t)
	m := newMachine(t, "generic-amd64", image(t, "generic-amd64"))
	m.personalise(tn.first("home-pi"))
	m.powerOn()
	said := "(?s)firstboot: joined node=" // and so on, one behind the other
	m.see(said)
	next := func(what, pattern string) {
		t.Helper()
		began := time.Now()
		said += ".*" + pattern
		m.see(said)
		t.Logf("%s after %v", what, time.Since(began).Round(time.Second))
	}

	m.qmp("set_link", map[string]any{"name": "net0", "up": false})
	next("the cable is missed", "problem=no-link: ")
	m.screenshot("no-link")
	m.qmp("set_link", map[string]any{"name": "net0", "up": true})
	next("it is well again", "firstboot: joined node=")

	m.qmp("chardev-add", map[string]any{"id": "nowhere", "backend": map[string]any{"type": "null", "data": map[string]any{}}})
	m.qmp("object-add", map[string]any{"qom-type": "filter-redirector", "id": "silence", "netdev": "net0", "queue": "all", "outdev": "nowhere"})
	next("the router is missed", "problem=link-silent: ")
	next("the port was switched off and on", "problem=link-bounced: ")
	m.qmp("object-del", map[string]any{"id": "silence"})
	next("it is well again", "firstboot: joined node=")
	if log := m.sh("journalctl -b -u firstboot -o cat --no-pager"); !strings.Contains(log, "problem=link-bounced") {
		t.Errorf("the journal does not tell of it:\n%s", log)
	}
	if got := m.sh("cat /var/lib/imagebuilder/firstboot/link-restarts 2>/dev/null || echo none"); got != "none" {
		t.Errorf("it counted %s restarts", got)
	}
}

// qmp gives the machine an order.
func (m *machine) qmp(command string, args map[string]any) {
	m.t.Helper()
	if _, err := qemu.Execute(m.config.QMP, command, args); err != nil {
		m.t.Fatalf("%s: %v", command, err)
	}
}
