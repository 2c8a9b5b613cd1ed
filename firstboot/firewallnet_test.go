//go:build linux

package firstboot_test

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/overlays"
)

// realm is a network namespace, alive as long as somebody listens in it.
type realm struct {
	t       *testing.T
	name    string
	scanner string
	pid     int
}

// newRealm makes a namespace whose listeners are "tcp:22" and the like.
func newRealm(t *testing.T, scanner, name string, services ...string) *realm {
	t.Helper()
	cmd := exec.Command(scanner, append([]string{"listen"}, services...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe() // its end ends the listeners, and they the namespace
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("a network namespace: %v (run the tests as root)", err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%s: %q, %v", name, line, err)
	}
	r := &realm{t, name, scanner, cmd.Process.Pid}
	r.sh("sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link set lo up")
	return r
}

func (r *realm) command(argv ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", fmt.Sprint(r.pid), "--net", "--"}, argv...)...)
}

func (r *realm) sh(format string, args ...any) string {
	r.t.Helper()
	script := fmt.Sprintf(format, args...)
	out, err := r.command("sh", "-euc", script).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %s: %v\n%s", r.name, script, err, out)
	}
	return string(out)
}

// wire connects two realms: the same name at both ends but where it says
// "NAME/NAME".
func wire(a, b *realm, name string) {
	a.t.Helper()
	left, right, ok := strings.Cut(name, "/")
	if !ok {
		right = left
	}
	a.sh("ip link add name %s type veth peer name %s netns %d; ip link set %s up", left, right, b.pid, left)
	b.sh("ip link set %s up", right)
}

// open returns the ports that took a connection, and whether any said no.
func (r *realm) open(args string) (open string, closed bool) {
	r.t.Helper()
	out, err := r.command(append([]string{r.scanner}, strings.Fields(args)...)...).CombinedOutput()
	if err != nil {
		r.t.Errorf("%s: scan %s: %v\n%s", r.name, args, err, out)
	}
	var ports []string
	for line := range strings.Lines(string(out)) {
		port, answer, _ := strings.Cut(strings.TrimSpace(line), " ")
		closed = closed || answer == "closed"
		if answer == "open" {
			ports = append(ports, port)
		}
	}
	return strings.Join(ports, " "), closed
}

// view is what somebody must see of the node: these ports, and nothing of all
// others where the firewall is between.
type view struct {
	what string
	*realm
	args, want string
}

// through is the view without a firewall in between.
const through = ""

// see takes all views at once: a scan waits most of its time.
func see(t *testing.T, views ...view) {
	t.Helper()
	var wg sync.WaitGroup
	for _, v := range views {
		wg.Go(func() {
			got, closed := v.open(v.args)
			if got != v.want || closed && v.what != through {
				t.Errorf("%s: %s (scan %s) reaches ports %q, want %q; others say no: %v", v.what, v.name, v.args, got, v.want, closed)
			}
		})
	}
	wg.Wait()
}

// town is a node with all who may want something of it.
type town struct {
	node, lan, tail, pod, far *realm
	dir                       string
}

// The node's services are open on every address, as k3s' are.
const (
	everyTCP = "22 53 2379 2380 5001 6443 10250"
	everyUDP = "53 8472 41641"
	all      = " 1-65535"
	some     = " 1-1024 2379 2380 5001 6443 8000-8600 10250 30000-32767"
)

// buildScanner makes the program that keeps realms alive and looks for ports.
func buildScanner(t *testing.T) string {
	t.Helper()
	scanner := filepath.Join(t.TempDir(), "scan")
	if out, err := exec.Command("go", "build", "-o", scanner, "./scan").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return scanner
}

func newTown(t *testing.T) *town {
	t.Helper()
	scanner := buildScanner(t)
	services := strings.Fields("tcp:" + strings.ReplaceAll(everyTCP, " ", " tcp:") + " udp:" + strings.ReplaceAll(everyUDP, " ", " udp:"))
	w := &town{
		node: newRealm(t, scanner, "the node", services...),
		lan:  newRealm(t, scanner, "the LAN", "tcp:7777", "udp:7777"),
		tail: newRealm(t, scanner, "the tailnet", "tcp:7777"),
		pod:  newRealm(t, scanner, "a pod", "tcp:8000", "tcp:8080", "tcp:8443"),
		far:  newRealm(t, scanner, "another node's pod", "tcp:8000"),
		dir:  t.TempDir(),
	}
	wire(w.node, w.lan, "eth0")
	wire(w.node, w.lan, "wlan0")
	wire(w.node, w.tail, "tailscale0")
	wire(w.node, w.pod, "veth7/eth0")
	wire(w.node, w.far, "flannel.1/eth0")
	w.address()
	w.kubeProxy()
	return w
}

// address gives the LAN a private network, a public one, both of IPv6's, a
// second port, and private networks that the node only has a route to.
func (w *town) address() {
	for _, x := range []struct {
		*realm
		n int
	}{{w.node, 20}, {w.lan, 30}} {
		x.sh(`sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
			for a in 192.168.1.%[1]d/24 203.0.113.%[1]d/24; do ip addr add $a dev eth0; done
			for a in fd00:1::%[1]d/64 2001:db8::%[1]d/64; do ip addr add $a dev eth0; done
			ip addr add 192.168.5.%[1]d/24 dev wlan0`, x.n)
	}
	w.node.sh(`ip addr add 100.64.0.7/10 dev tailscale0
		ip addr add fd7a:115c:a1e0::7/48 dev tailscale0
		ip link add cni0 type bridge; ip link set cni0 up; ip link set veth7 master cni0
		ip addr add 10.42.0.1/24 dev cni0
		ip addr add 10.42.1.1/24 dev flannel.1
		ip route add default via 192.168.1.30`)
	w.lan.sh(`ip addr add 10.9.9.9/32 dev lo; ip addr add 172.20.1.1/32 dev lo
		for net in 10.42.0.0/15 100.64.0.0/10; do ip route add $net via 192.168.1.20; done`)
	w.tail.sh(`ip addr add 100.64.0.8/10 dev tailscale0; ip addr add fd7a:115c:a1e0::8/48 dev tailscale0`)
	w.pod.sh(`ip addr add 10.42.0.5/24 dev eth0; ip route add default via 10.42.0.1`)
	w.far.sh(`ip addr add 10.42.1.6/24 dev eth0; ip route add default via 10.42.1.1`)
}

// kubeProxy writes what kube-proxy does for a NodePort and for cluster
// addresses, the CNI's portmap for hostPorts, and whoever lets everything
// through.
func (w *town) kubeProxy() {
	w.node.sh(`nat() { iptables-nft -t nat -A "$@"; }
		for p in 30080:8080 80:8000 443:8443; do
			nat PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport ${p%%%%:*} -j DNAT --to-destination 10.42.0.5:${p#*:}
		done
		nat PREROUTING -d 10.43.0.1/32 -p tcp --dport 443 -j DNAT --to-destination 10.42.0.5:8443
		nat PREROUTING -d 10.43.0.9/32 -p tcp --dport 80 -j DNAT --to-destination 10.42.0.5:8000
		nat POSTROUTING ! -o lo -j MASQUERADE
		for chain in INPUT FORWARD; do iptables-nft -I $chain -j ACCEPT; ip6tables-nft -I $chain -j ACCEPT; done
		nft 'table inet early { chain first { type filter hook prerouting priority -400; accept; }; }'`)
}

// set gives the node the file that firstboot writes for a node.yaml.
func (w *town) set(t *testing.T, yaml string) {
	t.Helper()
	node := newWorld(t, yaml)
	node.boot(nil)
	w.write(t, openFile, node.files[openFile].data)
}

func (w *town) write(t *testing.T, name string, data []byte) {
	t.Helper()
	name = filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// imageAlone is a node whose guard does not run: the LAN is shut out, but for
// who comes by IPv6's link-local address, and the tailnet is as ever.
func (w *town) imageAlone(t *testing.T) {
	t.Helper()
	const name = "usr/lib/imagebuilder/firewall.nft"
	rules, err := fs.ReadFile(overlays.FS, "firewall/files/"+name)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, name, rules)
	w.node.sh("nft -f %s/%s", w.dir, name)
	see(t,
		view{"the image's rules alone", w.lan, "tcp 192.168.1.20" + some, ""},
		view{"the image's rules alone", w.lan, "tcp " + w.linkLocal() + some, "22"},
		view{through, w.tail, "tcp 100.64.0.7 " + everyTCP, everyTCP},
	)
}

// protect starts the guard.
func (w *town) protect(t *testing.T) {
	t.Helper()
	cmd := w.node.command(os.Args[0], "-test.run=^TestGuardOfAnotherRealm$")
	cmd.Env = append(os.Environ(), "GUARD_ROOT="+w.dir)
	var told strings.Builder
	cmd.Stdout, cmd.Stderr = &told, &told
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the guard: %s\nthe rules:\n%s", told.String(), w.node.sh("nft list table inet imagebuilder || true"))
		}
	})
}

// hasten makes the guard's pauses short.
type hasten struct{ firstboot.Clock }

func (h hasten) Now() time.Time {
	return time.Unix(0, 0).Add(time.Duration(time.Now().UnixNano()) * 20)
}

func (h hasten) Sleep(ctx context.Context, d time.Duration) error { return h.Clock.Sleep(ctx, d/20) }

// TestGuardOfAnotherRealm is no test but the guard's process.
func TestGuardOfAnotherRealm(t *testing.T) {
	root := os.Getenv("GUARD_ROOT")
	if root == "" {
		return
	}
	h := host.New(root, nil)
	h.Clock = hasten{h.Clock}
	t.Error(firstboot.Guard(t.Context(), h, func(s string) { fmt.Println(s) }))
}

// until waits for the node's rules to have a line.
func (w *town) until(t *testing.T, has string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, _ := w.node.command("nft", "list", "table", "inet", "imagebuilder").CombinedOutput()
		if strings.Contains(string(out), has) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no %q in\n%s", has, out)
		}
	}
}

// TestFirewall lets everybody scan a node that has everything open.
func TestFirewall(t *testing.T) {
	w := newTown(t)
	if open, closed := w.lan.open("tcp 192.168.1.20 22 80 6443 30080 9"); open != "22 80 6443 30080" || !closed {
		t.Fatalf("without rules the LAN reaches %q; nothing below proves anything", open)
	}
	w.imageAlone(t)
	w.set(t, initYAML)
	w.protect(t)
	w.until(t, `"wlan0" . 192.168.5.0/24`)
	w.byDefault(t)
	w.set(t, initYAML+"firewall: {lan: [http], public: [https]}\n")
	w.until(t, "tcp . 443")
	w.opened(t)
	w.node.sh("nft flush ruleset")
	w.kubeProxy()
	w.until(t, "tcp . 443")
	w.opened(t)
	w.paged(t)
	w.set(t, strings.Replace(initYAML, "ssh: {", "ssh: {lan: false, ", 1))
	w.until(t, "set lan {\n\t\ttype inet_proto . inet_service\n\t}")
	see(t, view{"ssh.lan: false", w.lan, "tcp 192.168.1.20" + some, ""}, view{"ssh.lan: false", w.lan, "tcp " + w.linkLocal() + some, ""})
}

// linkLocal is the node's address that always works.
func (w *town) linkLocal() string {
	return strings.TrimSpace(w.node.sh("ip -6 -o addr show dev eth0 scope link | awk '{sub(\"/.*\", \"\", $4); print $4}'")) + "%eth0"
}

func (w *town) byDefault(t *testing.T) {
	t.Helper()
	see(t,
		view{"the private network", w.lan, "tcp 192.168.1.20" + all, "22"},
		view{"UDP", w.lan, "udp 192.168.1.20" + some + " 8472 41641", "41641"},
		view{"a public neighbour", w.lan, "-from 203.0.113.30 tcp 203.0.113.20" + some, ""},
		view{"a public neighbour", w.lan, "-from 203.0.113.30 tcp 192.168.1.20" + some, ""},
		view{"a public neighbour's UDP", w.lan, "-from 203.0.113.30 udp 203.0.113.20 53 8472 41641", "41641"},
		view{"a private network behind the router", w.lan, "-from 10.9.9.9 tcp 192.168.1.20" + some, ""},
		view{"a private network behind the router", w.lan, "-from 172.20.1.1 tcp 192.168.1.20" + some, ""},
		view{"another port's network", w.lan, "-from 192.168.5.30 tcp 192.168.5.20" + some, "22"},
		view{"ULA", w.lan, "-from fd00:1::30 tcp fd00:1::20" + some, "22"},
		view{"global IPv6", w.lan, "-from 2001:db8::30 tcp 2001:db8::20" + some, ""},
		view{"link-local IPv6", w.lan, "tcp " + w.linkLocal() + some, "22"},
	)
	w.neverRouted(t)
	w.trusted(t)
}

// neverRouted asks the node, as a router, for what is behind it.
func (w *town) neverRouted(t *testing.T) {
	t.Helper()
	see(t,
		view{"a pod by its address", w.lan, "tcp 10.42.0.5" + some, ""},
		view{"another node's pod", w.lan, "tcp 10.42.1.6" + some, ""},
		view{"the API's cluster address", w.lan, "tcp 10.43.0.1" + some, ""},
		view{"a service's cluster address", w.lan, "tcp 10.43.0.9" + some, ""},
		view{"the tailnet behind the node", w.lan, "tcp 100.64.0.8" + some, ""},
	)
}

// trusted is what must go on: the tailnet, pods, and all that the node begins.
func (w *town) trusted(t *testing.T) {
	t.Helper()
	see(t,
		view{through, w.tail, "tcp 100.64.0.7" + all, "22 53 80 443 2379 2380 5001 6443 10250 30080"},
		view{through, w.tail, "udp 100.64.0.7 " + everyUDP, everyUDP},
		view{through, w.tail, "tcp fd7a:115c:a1e0::7 " + everyTCP, everyTCP},
		view{through, w.pod, "tcp 10.42.0.1 " + everyTCP, everyTCP},
		view{through, w.pod, "tcp 192.168.1.20 " + everyTCP, everyTCP},
		view{through, w.pod, "tcp 10.42.1.6 8000", "8000"},
		view{through, w.pod, "tcp 192.168.1.30 7777", "7777"},
		view{through, w.far, "tcp 10.42.0.5 8000 8443", "8000 8443"},
		view{through, w.node, "tcp 192.168.1.30 7777", "7777"},
		view{through, w.node, "udp 192.168.1.30 7777", "7777"},
		view{through, w.node, "tcp 2001:db8::30 7777", "7777"},
		view{through, w.node, "tcp 100.64.0.8 7777", "7777"},
		view{through, w.node, "tcp 127.0.0.1 " + everyTCP, everyTCP},
	)
	w.lan.sh("ping -qc1 -W2 192.168.1.20; ping -qc1 -W2 2001:db8::20; ping -qc1 -W2 -I 203.0.113.30 203.0.113.20")
}

// paged is a node that shows its page: its own network comes to that, which nobody serves here,
// and not to the pod that has the same port. Others get what they always get.
func (w *town) paged(t *testing.T) {
	t.Helper()
	w.set(t, initYAML+"firewall: {public: [https]}\n")
	page := newWorld(t, initYAML)
	page.spent["hskey-auth-first"] = true
	page.boot(needsPerson)
	w.write(t, firstboot.PageFile, page.files[firstboot.PageFile].data)
	w.until(t, "chain page")
	for _, address := range []string{"192.168.1.20", w.linkLocal()} {
		if open, closed := w.lan.open("tcp " + address + " 22 80"); open != "22" || !closed {
			t.Errorf("beside the page, port 80 of %s leads to the ingress: %q, %v", address, open, closed)
		}
	}
	see(t,
		view{through, w.tail, "tcp 100.64.0.7 80 443", "80 443"},
		view{through, w.pod, "tcp 10.42.0.1 22", "22"},
		view{"the page", w.lan, "-from 203.0.113.30 tcp 203.0.113.20 22 80 443", "443"},
		view{"the page", w.lan, "-from 10.9.9.9 tcp 192.168.1.20 80 443", "443"},
	)
	w.neverRouted(t)
	if err := os.Remove(filepath.Join(w.dir, firstboot.PageFile)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); strings.Contains(w.node.sh("nft list table inet imagebuilder"), "chain page"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the page's rules stay")
		}
	}
}

// opened is a node that lets the LAN come to http, and everybody to https. It
// is no router for either.
func (w *town) opened(t *testing.T) {
	t.Helper()
	see(t,
		view{"firewall.lan: http", w.lan, "tcp 192.168.1.20" + some, "22 80 443"},
		view{"firewall.public: https", w.lan, "-from 203.0.113.30 tcp 203.0.113.20" + some, "443"},
		view{"firewall.public: https", w.lan, "-from 10.9.9.9 tcp 192.168.1.20" + some, "443"},
	)
	w.neverRouted(t)
}
