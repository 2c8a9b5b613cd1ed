//go:build vm && linux

package vmtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/qemu"
)

// TestStorage encrypts a server whose share another server keeps, which sees it on one LAN. Its
// disk reveals none of 20 secrets. It comes back by itself; from another address only with its
// owner's word; never again when it is revoked.
func TestStorage(t *testing.T) {
	net, img, cards := newTailnet(t), image(t, "generic-amd64"), lan(t)
	home := net.holder(img, cards[0], "home-pi", "cabin-pi")
	cabin, cfg := net.encrypted(img, "home-pi", "cabin-pi")
	cabin.powerOn(cards[1]...)
	t.Logf("cabin-pi joined after %v", cabin.seeJoined())
	if held := home.sh("cat /var/lib/imagebuilder/shares/cabin-pi.yaml"); !strings.Contains(held, "192.168.77.2/32") {
		t.Errorf("home-pi knows of cabin-pi\n%s", strings.Join(strings.Split(held, "share:"), "…"))
	}
	cabin.plants()
	cabin.carriesStores()
	cabin.powerOff()
	cabin.tellsNothing()

	cabin.powerOn(cards[1]...)
	t.Logf("cabin-pi unlocked itself, joined after %v", cabin.seeJoined())
	cabin.hasPlanted()
	cabin.powerOff()

	cfg.Network.Interfaces = []node.Interface{onlyAddress(3)}
	cabin.personalise(cfg)
	cabin.powerOn(cards[1]...)
	cabin.seeProblem("share-place")
	cabin.locked()
	cabin.screenshot("share-place")
	since := home.sh("firstboot unlock cabin-pi | jq -r 'select(.place == \"192.168.77.3/32\").since'")
	home.sh("firstboot unlock --since %s cabin-pi", since)
	t.Logf("with its owner's word, joined after %v", cabin.seeJoined())
	cabin.hasPlanted()
	cabin.powerOff()

	home.sh("firstboot revoke cabin-pi %s", net.nodes()["cabin-pi"].ID)
	cabin.powerOn(cards[1]...)
	cabin.seeProblem("share-revoked")
	cabin.locked()
	if held := home.sh("cat /var/lib/imagebuilder/shares/cabin-pi.yaml"); strings.Contains(held, "share:") {
		t.Error("home-pi still has the share")
	}
}

// TestStorageWithoutAES encrypts a server whose processor has no AES instructions, as a Raspberry
// Pi 4: with Adiantum, and everything that is in it. QEMU's Pis have the instructions, so a PC is
// used, whose instructions are masked.
func TestStorageWithoutAES(t *testing.T) {
	net, img, cards := newTailnet(t), image(t, "generic-amd64"), lan(t)
	net.holder(img, cards[0], "home-pi", "cabin-pi")
	cabin, _ := net.encrypted(img, "home-pi", "cabin-pi")
	cabin.config.Accel, cabin.config.Board.QEMU.CPU = "tcg", "max,aes=off"
	cabin.powerOn(cards[1]...)
	t.Logf("cabin-pi joined after %v", cabin.seeJoined())
	if got := cabin.sh("grep -cw aes /proc/cpuinfo; grep -c '^name *: adiantum(xchacha12,aes)$' /proc/crypto || true"); !strings.HasPrefix(got, "0\n") || strings.HasSuffix(got, "\n0") {
		t.Errorf("processors with AES, and ciphers of this name: %q; the kernel has\n%s", got, cabin.sh("grep ^name /proc/crypto | sort -u"))
	}
	cabin.plants()
	cabin.carriesStores()
	cabin.powerOff()
	cabin.tellsNothing()

	cabin.powerOn(cards[1]...)
	t.Logf("cabin-pi unlocked itself, joined after %v", cabin.seeJoined())
	cabin.hasPlanted()
}

// holder starts the first of some servers, which keeps shares, and waits until it has joined.
func (n *tailnet) holder(img string, card []string, servers ...string) *machine {
	n.t.Helper()
	m := newMachine(n.t, "generic-amd64", img)
	cfg := n.first(servers[0])
	cfg.K3s.Servers, cfg.K3s.Config, cfg.Storage.Hold = servers, light, true
	cfg.Network.Interfaces = []node.Interface{onlyAddress(1)}
	m.personalise(cfg)
	m.powerOn(card...)
	n.t.Logf("%s joined after %v", servers[0], m.seeJoined())
	return m
}

// encrypted is a server that is to be encrypted, before its first start.
func (n *tailnet) encrypted(img, holder, name string) (*machine, *node.Config) {
	n.t.Helper()
	m := newMachine(n.t, "generic-amd64", img)
	cfg := n.member(name, "b", node.Server)
	cfg.K3s.Servers, cfg.K3s.Config = []string{holder, name}, light
	cfg.Storage = node.Storage{Encrypt: true, Holders: []string{holder}, HolderTags: []string{"tag:site-a"}}
	cfg.Network.Interfaces = []node.Interface{onlyAddress(2)}
	m.personalise(cfg)
	return m, cfg
}

// TestStorageOfTwoAtOnce: two nodes, each of which keeps the other's share, restart
// together. Neither opens until the third one is there, and then both do. Before they have
// joined for the first time they show their pages, and one finds the other's by its name.
func TestStorageOfTwoAtOnce(t *testing.T) {
	const boardName = "generic-amd64"
	net, img := newTailnet(t), image(t, boardName)
	cards := commonLAN(t, 3)

	third := net.holder(img, cards[0], "home-pi")
	two := map[string]*machine{"cabin-pi": nil, "shed-pi": nil}
	names := slices.Sorted(maps.Keys(two))
	for i, name := range names {
		m := newMachine(t, boardName, img)
		cfg := net.member(name, "b", node.Agent)
		cfg.K3s.Servers = []string{"home-pi"}
		cfg.Storage = node.Storage{Encrypt: true, Hold: true, Holders: []string{names[1-i], "home-pi"}, HolderTags: []string{"tag:site-a", "tag:site-b"}}
		cfg.Network.Interfaces = []node.Interface{onlyAddress(2 + i)}
		m.personalise(cfg)
		m.powerOn(cards[1+i]...)
		two[name] = m
	}
	two["shed-pi"].see("firstboot: ")
	two["shed-pi"].findsOnLAN("cabin-pi", "192.168.77.2")
	for _, name := range names {
		t.Logf("%s joined after %v", name, two[name].seeJoined())
		two[name].plants()
	}
	if held := third.sh("cd /var/lib/imagebuilder/shares && echo *.yaml"); held != "cabin-pi.yaml shed-pi.yaml" {
		t.Fatalf("home-pi keeps the shares of %s", held)
	}
	for _, m := range []*machine{third, two["cabin-pi"], two["shed-pi"]} {
		m.powerOff()
	}

	for i, name := range names {
		two[name].powerOn(cards[1+i]...)
	}
	for _, name := range names {
		two[name].seeProblem("share-nobody")
		two[name].locked()
		two[name].screenshot("share-nobody")
	}
	third.powerOn(cards[0]...)
	for _, name := range names {
		t.Logf("%s unlocked itself, joined after %v", name, two[name].seeJoined())
		two[name].hasPlanted()
	}
}

// findsOnLAN looks for another node's page as a laptop beside it does: by multicast DNS.
func (m *machine) findsOnLAN(name, address string) {
	m.t.Helper()
	if got := m.sh("timeout 90 sh -c 'until resolvectl -p mdns -4 --legend=no query %s.local; do sleep 2; done' 2>&1 | tail -n 1", name); !strings.Contains(got, address) {
		m.t.Errorf("%s.local is %s, not %s", name, got, address)
	}
	if got := m.sh("curl -s --max-time 60 --resolve %[1]s.local:80:%[2]s http://%[1]s.local/", name, address); !strings.Contains(got, name) {
		m.t.Errorf("the page of %s is %.300q", name, got)
	}
}

// commonLAN is a network that several machines have a card in, apart from QEMU's own.
func commonLAN(t *testing.T, machines int) (cards [][]string) {
	t.Helper()
	port, err := qemu.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for i := range machines {
		cards = append(cards, []string{
			"-netdev", fmt.Sprintf("socket,id=lan,mcast=239.77.0.1:%d,localaddr=127.0.0.1", port),
			"-device", fmt.Sprintf("virtio-net-pci,romfile=,netdev=lan,mac=52:54:00:4c:43:%02x", i+1),
		})
	}
	return cards
}

// onlyAddress is the only address of an interface, so that a machine is seen at no other.
func onlyAddress(n int) node.Interface {
	return node.Interface{Name: lanPort, Addresses: []string{fmt.Sprintf("192.168.77.%d/24", n)}}
}

// plantedIn are the directories in which secrets are planted.
var plantedIn = []string{"/var/lib/rancher/k3s/server", "/var/lib/kubelet/pods", "/var/lib/longhorn/replicas", "/var/log/pods/p", "/etc/rancher/k3s"}

const plantedEach = 4

func plantedSecret(place, n int) string { return fmt.Sprintf("PLANTED-%d-%d-b7c4e1f09a", place, n) }

func (m *machine) plants() {
	m.t.Helper()
	for place, dir := range plantedIn {
		for n := range plantedEach {
			m.sh("mkdir -p %s && yes %s | head -c 20000 >%s/%[2]s", dir, plantedSecret(place, n), dir)
		}
	}
	m.sh("sync")
}

// carriesStores does what containerd's snapshotter and Longhorn's replicas require of a file
// system: overlays with whiteouts; sparse files with direct writes, holes and their extent map.
func (m *machine) carriesStores() {
	m.t.Helper()
	got := m.sh(`set -e; d=/var/lib/rancher/k3s/agent/overlay; mkdir -p $d/lower $d/upper $d/work $d/merged; echo old >$d/lower/a; echo old >$d/lower/b
mount -t overlay overlay -o lowerdir=$d/lower,upperdir=$d/upper,workdir=$d/work $d/merged
echo new >$d/merged/a; rm $d/merged/b; cat $d/upper/a; stat -c %%F $d/upper/b; umount $d/merged
r=/var/lib/longhorn/replicas/volume.img; truncate -s 64M $r
dd if=/dev/urandom of=$r bs=4k count=256 seek=1024 oflag=direct conv=notrunc status=none
fallocate --punch-hole --offset 4194304 --length 524288 $r; sync $r; stat -c '%%s %%b' $r; filefrag -v $r | grep -c '^ *0: *1152'`)
	if want := "new\ncharacter special file\n67108864 1024\n1"; got != want {
		m.t.Errorf("a store finds\n%s\nnot\n%s", got, want)
	}
}

func (m *machine) hasPlanted() {
	m.t.Helper()
	for place, dir := range plantedIn {
		for n := range plantedEach {
			if size := m.sh("stat -c %%s %s/%s", dir, plantedSecret(place, n)); size != "20000" {
				m.t.Errorf("%s: secret %d has %s bytes", dir, n, size)
			}
		}
	}
}

// tellsNothing searches every byte of the disk of a machine that is off.
func (m *machine) tellsNothing() {
	m.t.Helper()
	for place, dir := range plantedIn {
		for n := range plantedEach {
			if at := m.find(plantedSecret(place, n)); len(at) > 0 {
				m.t.Errorf("secret %d of %s is on the disk, at bytes %v", n, dir, at)
			}
		}
	}
	for what, s := range map[string]string{"the servers' token": serverToken, "the agents' token": agentToken} {
		if at := m.find(s); len(at) > 0 {
			m.t.Errorf("%s is on the disk, at bytes %v", what, at)
		}
	}
}

// locked looks at a node that waits: nothing of the cluster can be read, or runs.
func (m *machine) locked() {
	m.t.Helper()
	if got := m.sh("systemctl is-active k3s; cat /etc/rancher/k3s/token 2>&1; ls /var/lib/rancher | head -1"); strings.Contains(got, serverToken) || strings.HasPrefix(got, "active") || strings.Contains(got, "k3s\n") {
		m.t.Errorf("it is locked, and has\n%s", got)
	}
	if n := m.sh("cat /etc/rancher/k3s/%s 2>/dev/null | wc -c", plantedSecret(4, 0)); n != "0" {
		m.t.Errorf("a secret of %s bytes can be read", n)
	}
}
