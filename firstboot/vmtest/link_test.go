//go:build vm && linux

package vmtest

import (
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/qemu"
)

// TestLink is what happens to the network of a joined node: somebody pulls the
// cable and puts it back; then the port sends nothing any more though its light is
// on, as a Pi 4's does, until it is switched off and on, which the node does.
func TestLink(t *testing.T) {
	tn := newTailnet(t)
	m := newMachine(t, "generic-amd64", image(t, "generic-amd64"))
	m.personalise(tn.first("home-pi"))
	m.powerOn()
	m.seeJoined()

	began := time.Now()
	m.qmp("set_link", map[string]any{"name": "net0", "up": false})
	m.seeProblem("no-link")
	t.Logf("the cable is missed after %v", time.Since(began).Round(time.Second))
	m.screenshot("no-link")
	m.qmp("set_link", map[string]any{"name": "net0", "up": true})
	m.seeJoined()

	began = time.Now()
	m.qmp("chardev-add", map[string]any{"id": "nowhere", "backend": map[string]any{"type": "null", "data": map[string]any{}}})
	m.qmp("object-add", map[string]any{"qom-type": "filter-redirector", "id": "silence", "netdev": "net0", "queue": "all", "outdev": "nowhere"})
	m.seeProblem("link-silent")
	t.Logf("the router is missed after %v", time.Since(began).Round(time.Second))
	m.seeProblem("link-bounced")
	t.Logf("the port was switched off and on after %v", time.Since(began).Round(time.Second))
	m.qmp("object-del", map[string]any{"id": "silence"})
	m.seeJoined()
	t.Logf("it is a member again after %v", time.Since(began).Round(time.Second))
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
