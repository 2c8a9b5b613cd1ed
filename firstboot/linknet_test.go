//go:build linux

package firstboot_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// wired runs the programs that ask for the router where there is one.
type wired struct {
	progWorld
	node  *realm
	up    func() // what the router's end does when the port comes up
	calls int
}

func (w *wired) Run(ctx context.Context, argv ...string) (string, error) {
	if argv[0] != "ip" && argv[0] != "ping" && argv[0] != "ethtool" {
		return w.progWorld.Run(ctx, argv...)
	}
	w.calls++
	cmd := w.node.command(argv...)
	out, err := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...).Output()
	if strings.HasSuffix(strings.Join(argv, " "), "dev eth0 up") {
		w.up()
	}
	return string(out), err
}

// TestLinkAndKernel: what ip, ping and ethtool say on a real wire, whose other
// end stops to answer anything, even ARP, until the port was off and on.
func TestLinkAndKernel(t *testing.T) {
	scanner := buildScanner(t)
	node, router := newRealm(t, scanner, "node", "tcp:1"), newRealm(t, scanner, "router", "tcp:1")
	wire(node, router, "eth0")
	// The world's time flies, the kernel's does not.
	node.sh("cd /proc/sys/net/ipv4/neigh/eth0; echo 500 >base_reachable_time_ms; echo 1 >delay_first_probe_time")
	router.sh("ip addr add 192.168.1.1/24 dev eth0")
	const route = "ip addr replace 192.168.1.20/24 dev eth0; ip route replace default via 192.168.1.1"
	node.sh(route)
	o := watch(t, crashWorld(t))
	w := &wired{progWorld: progWorld{o.world}, node: node}
	w.up = func() {
		router.sh("nft flush ruleset")
		node.sh(route) // systemd-networkd would
	}
	o.programs, o.hurry = w, 20
	o.run(10 * time.Minute)
	o.sees("before", green)
	if w.calls == 0 || strings.Contains(o.journal.String(), "link-") {
		t.Fatalf("%d programs run:\n%s", w.calls, o.journal.String())
	}
	router.sh("nft 'add table netdev t; add chain netdev t c { type filter hook ingress device eth0 priority 0; policy drop; }'")
	time.Sleep(2 * time.Second)
	o.run(20 * time.Minute)
	o.sees("after", green)
	if journal := o.journal.String(); !strings.Contains(journal, "problem=link-silent") || !strings.Contains(journal, "problem=link-bounced") || strings.Contains(journal, "link-no-eee") {
		t.Error(journal)
	}
	if o.status.State != firstboot.Joined {
		t.Error(o.status.Line())
	}
}
