//go:build vm && linux

package vmtest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/qemu"
)

// lanPort is what a second network card is called: the first is enp0s4.
const lanPort = "enp0s5"

// TestFirewall puts a server and an agent onto one LAN and lets each of them scan the other: when
// they have joined, after somebody has flushed all rules, after a restart of tailscaled, and after
// a reboot. On both of them every port that k3s would open has a listener.
func TestFirewall(t *testing.T) {
	const boardName = "generic-amd64"
	net, img, scanner := newTailnet(t), image(t, boardName), serveScanner(t)
	cards := lan(t)

	home := newMachine(t, boardName, img)
	cfg := net.first("home-pi")
	cfg.Network.Interfaces = []node.Interface{lanAddresses(1)}
	home.personalise(cfg)
	home.powerOn(cards[0]...)
	t.Logf("home-pi joined after %v", home.seeJoined())

	box := newMachine(t, boardName, img)
	cfg = net.member("home-box", "a", node.Agent)
	cfg.K3s.Servers = []string{"home-pi"}
	cfg.Network.Interfaces = []node.Interface{lanAddresses(2)}
	cfg.Firewall = node.Firewall{LAN: []string{"http"}, Public: []string{"https"}}
	box.personalise(cfg)
	box.powerOn(cards[1]...)
	t.Logf("home-box joined after %v", box.seeJoined())

	f := &fenced{t: t, home: home, box: box, homeIP: net.nodes()["home-pi"].Addresses[0].String(), boxIP: net.nodes()["home-box"].Addresses[0].String()}
	f.both(func(m *machine) { m.opensEverything(scanner) })
	f.holds("joined")
	t.Logf("the guard: %s", home.sh("grep ^Rss /proc/$(systemctl show -P MainPID firstboot-firewall)/status; systemctl show -p CPUUsageNSec firstboot-firewall"))

	f.both(func(m *machine) {
		m.sh("nft flush ruleset")
		m.putBack()
		m.kubeProxy()
	})
	f.holds("somebody flushed all rules")

	f.both(func(m *machine) { m.sh("systemctl restart tailscaled") })
	f.both(func(m *machine) { m.sh("firstboot wait-tailnet --timeout 3m") })
	f.holds("tailscaled was restarted")

	f.both(func(m *machine) {
		m.reboot()
		m.beforeTheNetwork()
		m.opensEverything(scanner)
	})
	f.holds("a reboot")
}

// lan connects two machines by datagrams over the loopback, as a switch would,
// and returns the further arguments of each.
func lan(t *testing.T) (cards [2][]string) {
	t.Helper()
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = qemu.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range cards {
		cards[i] = []string{
			"-netdev", fmt.Sprintf("socket,id=lan,udp=127.0.0.1:%d,localaddr=127.0.0.1:%d", ports[1-i], ports[i]),
			"-device", fmt.Sprintf("virtio-net-pci,romfile=,netdev=lan,mac=52:54:00:4c:41:%02x", i+1),
		}
	}
	return cards
}

// lanAddresses returns an interface with private and public addresses.
func lanAddresses(n int) node.Interface {
	i := node.Interface{Name: lanPort}
	for _, network := range []string{"192.168.77.%d/24", "203.0.113.%d/24", "fd77::%d/64", "2001:db8:77::%d/64"} {
		i.Addresses = append(i.Addresses, fmt.Sprintf(network, n))
	}
	return i
}

// serveScanner offers the scanner to guests.
func serveScanner(t *testing.T) (url string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "scan")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "../scan")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(file))))
	t.Cleanup(s.Close)
	return forGuests(s.URL) + "/scan"
}

// everything is what k3s opens on a node, besides the API.
const everything = "tcp:80 tcp:443 tcp:2379 tcp:2380 tcp:5001 tcp:10250 udp:8472 udp:51820"

// opensEverything listens where k3s would, and on a pod behind a NodePort. A scan of all ports
// makes more connections than a small machine's conntrack table holds. The node's page has port 80
// for a while after the node has joined.
func (m *machine) opensEverything(scanner string) {
	m.t.Helper()
	m.sh("timeout 900 sh -c 'while [ -n \"$(ss -Hltn sport = :80)\" ]; do sleep 1; done'")
	m.sh(`sysctl -qw net.netfilter.nf_conntrack_max=262144
		mkdir -p /var/tmp/scan && curl -sf %s -o /var/tmp/scan/scan && chmod +x /var/tmp/scan/scan
		ip netns add pod; ip link add cni0 type bridge; ip link set cni0 up; ip addr add 10.42.0.1/24 dev cni0
		ip link add veth7 type veth peer name eth0 netns pod; ip link set veth7 master cni0 up
		ip -n pod addr add 10.42.0.5/24 dev eth0; ip -n pod link set eth0 up; ip -n pod route add default via 10.42.0.1
		systemd-run --quiet --unit=open sh -c 'sleep infinity | /var/tmp/scan/scan listen %s'
		systemd-run --quiet --unit=pod ip netns exec pod sh -c 'sleep infinity | /var/tmp/scan/scan listen tcp:8080'
		sleep 2; systemctl is-active --quiet open && systemctl is-active --quiet pod`, scanner, everything)
	m.kubeProxy()
}

func (m *machine) kubeProxy() {
	m.t.Helper()
	m.sh(`iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 30080 -j DNAT --to-destination 10.42.0.5:8080
		iptables -I INPUT -j ACCEPT; iptables -I FORWARD -j ACCEPT`)
}

// putBack waits for the guard, which has a minute, to restore the rules.
func (m *machine) putBack() {
	m.t.Helper()
	got := m.sh(`for i in $(seq 90); do nft list table inet imagebuilder >/dev/null 2>&1 && break; sleep 1; done
		echo $i $(journalctl -b -u firstboot-firewall -o cat | grep -c 'put back')`)
	var seconds, told int
	if _, err := fmt.Sscan(got, &seconds, &told); err != nil || seconds > 60 || told != 1 {
		m.t.Errorf("the rules were back after %d s, which the journal tells %d times (%q)", seconds, told, got)
	}
}

// reboot returns when the node has joined again.
func (m *machine) reboot() {
	m.t.Helper()
	const id = "cat /proc/sys/kernel/random/boot_id"
	before := m.sh(id)
	m.sh("systemd-run --quiet --on-active=1s systemctl reboot")
	m.bounded(func(ctx context.Context) error {
		for {
			out, err := m.Run(ctx, id+"; jq -r .state /run/firstboot/status.json")
			if err == nil && !strings.Contains(out, before) && strings.Contains(out, "joined") {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(2 * time.Second):
			}
		}
	})
}

// beforeTheNetwork compares when systemd started the firewall and the network.
func (m *machine) beforeTheNetwork() {
	m.t.Helper()
	got := m.sh("systemctl show -P ActiveEnterTimestampMonotonic firstboot-firewall; systemctl show -P InactiveExitTimestampMonotonic systemd-networkd")
	var firewall, network int
	if n, err := fmt.Sscan(got, &firewall, &network); n != 2 || err != nil || firewall == 0 || firewall > network {
		m.t.Errorf("the firewall stood at %d µs, the network began at %d µs", firewall, network)
	}
}

// fenced is the two nodes.
type fenced struct {
	t             *testing.T
	home, box     *machine
	homeIP, boxIP string
}

func (f *fenced) both(do func(*machine)) {
	do(f.home)
	do(f.box)
}

// holds scans each node from the other, over the LAN and over the tailnet.
func (f *fenced) holds(when string) {
	f.t.Helper()
	started := time.Now()
	const some = "1-1024 2379 2380 5001 6443 8080 10250 30000-30100"
	for _, c := range []struct {
		from       *machine
		args, want string
	}{
		{f.box, "tcp 192.168.77.1 1-65535", "22"},
		{f.box, "-from 203.0.113.2 tcp 203.0.113.1 " + some, ""},
		{f.box, "tcp fd77::1 " + some, "22"},
		{f.box, "-from 2001:db8:77::2 tcp 2001:db8:77::1 " + some, ""},
		{f.box, "tcp " + f.home.linkLocal() + " " + some, "22"},
		{f.box, "udp 192.168.77.1 1-1024 8472 51820", ""},
		// Over IPv6: conntrack would take the other's scan for an answer to its own.
		{f.home, "tcp fd77::2 1-65535", "22 80 443"},
		{f.home, "tcp 192.168.77.2 " + some, "22 80 443"},
		{f.home, "-from 203.0.113.1 tcp 203.0.113.2 " + some, "443"},
		{f.home, "udp 192.168.77.2 1-1024 8472 51820", ""},
	} {
		if got := c.from.sh("/var/tmp/scan/scan -wait 2s %s | tr '\\n' ' '", c.args); strings.TrimSpace(strings.ReplaceAll(got, " open", "")) != c.want {
			f.t.Errorf("%s: scan %s: %q, want %q alone", when, c.args, got, c.want)
		}
	}
	f.tailnet(when)
	f.t.Logf("%s: scanned in %v", when, time.Since(started).Round(time.Second))
}

// tailnet checks what must keep working: kubectl, ssh, flannel's port, NodePorts, and the direct
// connection between the two through tailscale's own port.
func (f *fenced) tailnet(when string) {
	f.t.Helper()
	for _, c := range []struct {
		from       *machine
		args, want string
	}{
		{f.box, "tcp " + f.homeIP + " 22 2379 6443 10250 30080", "22 2379 6443 10250 30080"},
		{f.box, "udp " + f.homeIP + " 8472", "8472"},
		{f.home, "tcp " + f.boxIP + " 22 10250 30080", "22 10250 30080"},
		{f.home, "udp " + f.boxIP + " 8472", "8472"},
	} {
		if got := c.from.sh("/var/tmp/scan/scan -wait 5s %s | sort -n | awk '$2 == \"open\" { print $1 }' | xargs", c.args); got != c.want {
			f.t.Errorf("%s: scan %s: %q, want %q", when, c.args, got, c.want)
		}
	}
	if got := f.box.sh("k3s kubectl --kubeconfig /var/lib/rancher/k3s/agent/kubelet.kubeconfig get nodes -o json | jq -r '.items | length'"); got != "2" {
		f.t.Errorf("%s: kubectl sees %s nodes", when, got)
	}
	if got := f.box.sh("tailscale ping --until-direct -c 20 %s", f.homeIP); !strings.Contains(got, ":41641 in ") {
		f.t.Errorf("%s: there is no direct way: %s", when, got)
	}
	for _, m := range []*machine{f.home, f.box} {
		if got := m.sh("firstboot doctor | grep -A2 ^Firewall"); strings.Count(got, "  ok ") != 2 {
			f.t.Errorf("%s: the doctor says\n%s", when, got)
		}
	}
}

// linkLocal is the address by which a neighbour always reaches the machine.
func (m *machine) linkLocal() string {
	m.t.Helper()
	return m.sh("ip -6 -j addr show dev %[1]s scope link | jq -r '.[].addr_info[]?.local // empty'", lanPort) + "%" + lanPort
}
