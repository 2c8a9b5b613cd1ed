//go:build vm && linux

package vmtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"tailscale.com/net/stun"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/qemu"
)

// ownFleet is a fleet that runs its own Headscale, at a port of loopback.
type ownFleet struct {
	t    *testing.T
	dir  string
	port int
	vps  string // the VPS' board
}

const ownFleetYAML = `version: 1
cluster:
  name: shed
  headscale:
    url: https://%[1]s:%[2]d
    apiKey: {file: secrets/headscale.key}
    ca: {file: secrets/ca.crt}
    server: {cert: {file: secrets/tls.crt}, key: {file: secrets/tls.key}, hostKey: {file: secrets/control-host.key}, loginKey: {file: secrets/control-login.key}}
  k3s: {token: {file: secrets/server.token}, agentToken: {file: secrets/agent.token}, ca: {file: secrets/cluster-ca.yaml}}
sites:
  cloud: {network: {ntp: [%[1]s]}}
  home: {network: {ntp: [%[1]s]}}
nodes:
  vps: {board: %[3]s, site: cloud, role: control}
  home-pi: {board: rpi4, site: home, role: server}
  box: {board: generic-amd64, site: home, role: agent}
`

func newOwnFleet(t *testing.T, vps string) *ownFleet {
	t.Helper()
	serveTime(t)
	port, err := qemu.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	f := &ownFleet{t, filepath.Join(t.TempDir(), "fleet"), port, vps}
	run(t, builder, "fleet", "init", f.dir, "--name", "shed", "--headscale", "https://"+hostAddress)
	f.write("fleet.yaml", fmt.Sprintf(ownFleetYAML, hostAddress, port, vps))
	f.certify()
	return f
}

func (f *ownFleet) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *ownFleet) read(name string) string {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

// certify makes an authority, and a certificate for the address at which guests see the server.
func (f *ownFleet) certify() {
	f.t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, IPAddresses: []net.IP{net.ParseIP(hostAddress)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	caKey, leafKey := f.key(), f.key()
	f.pem("secrets/ca.crt", ca, ca, caKey, caKey)
	f.pem("secrets/tls.crt", leaf, ca, leafKey, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("secrets/tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func (f *ownFleet) key() *ecdsa.PrivateKey {
	f.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	return k
}

func (f *ownFleet) pem(name string, cert, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) {
	f.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, by, key.Public(), byKey)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(name, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// answer returns the node.yaml that the fleet has for a node.
func (f *ownFleet) answer(name string) *node.Config {
	f.t.Helper()
	c, err := node.Load(name, []byte(run(f.t, builder, "fleet", "node", name, "--reveal", "--fleet", f.dir+"/fleet.yaml")))
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// switchOn starts the VPS, which its owner can log in to as "headscale init" does.
func (f *ownFleet) switchOn(img string, extra ...string) *machine {
	f.t.Helper()
	vps := newMachine(f.t, f.vps, img)
	vps.signer = f.controlLogin()
	vps.config.Forward = map[int]int{f.port: f.port}
	c := f.answer("vps")
	if len(extra) > 0 {
		c.Network.Interfaces = []node.Interface{lanAddresses(1)}
	}
	vps.personalise(c)
	vps.powerOn(extra...)
	return vps
}

// controlLogin is the key with which its owner logs in to the VPS.
func (f *ownFleet) controlLogin() ssh.Signer {
	f.t.Helper()
	signer, err := ssh.ParsePrivateKey([]byte(f.read("secrets/control-login.key")))
	if err != nil {
		f.t.Fatal(err)
	}
	return signer
}

// init runs "headscale init".
func (f *ownFleet) init(vps *machine) string {
	f.t.Helper()
	return run(f.t, builder, "headscale", "init", "--fleet", f.dir+"/fleet.yaml", "--address", fmt.Sprintf("127.0.0.1:%d", vps.config.SSHPort))
}

// client returns an API client of the VPS' owner.
func (f *ownFleet) client() *headscale.Client {
	f.t.Helper()
	c, err := headscale.New(fmt.Sprintf("https://%s:%d", hostAddress, f.port), secret.String(strings.TrimSpace(f.read("secrets/headscale.key"))), f.read("secrets/ca.crt"))
	if err != nil {
		f.t.Fatal(err)
	}
	c.DialAt("127.0.0.1", "")
	return c
}

func (f *ownFleet) nodes() map[string]headscale.Node {
	f.t.Helper()
	list, err := f.client().Nodes(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]headscale.Node{}
	for _, n := range list {
		out[n.GivenName] = n
	}
	return out
}

// controlImage builds the image of a board with Headscale, which is built from its module.
func controlImage(t testing.TB, boardName string) string {
	t.Helper()
	program := k3s(t, strings.TrimPrefix(boardName, "generic-"))
	return makeOnce("control-"+boardName+".img", func(file string) {
		build(t, boardName, file, "--overlay", "headscale", "--component", "k3s="+program)
	})
}

// TestControl: a VPS from an image and its file runs, is brought into service with one command,
// joins its own tailnet and shows the Internet nothing but its services. Others join it, and after
// a reboot it is what it was.
func TestControl(t *testing.T) {
	f, img, scanner, cards := newOwnFleet(t, "generic-amd64"), controlImage(t, "generic-amd64"), serveScanner(t), lan(t)
	vps := f.serves(img, cards[0]...)
	box := f.joins(img, cards[1])
	f.outside(box, scanner)
	f.lives(vps)
}

// TestControlOnArm: so does one of the other architecture, which many a provider sells for less.
// Who sees it from outside is told by TestControl: the rules are the same.
func TestControlOnArm(t *testing.T) {
	f := newOwnFleet(t, "generic-arm64")
	f.lives(f.serves(controlImage(t, "generic-arm64")))
}

// serves switches the VPS on and brings it into service.
func (f *ownFleet) serves(img string, cards ...string) *machine {
	f.t.Helper()
	vps := f.switchOn(img, cards...)
	vps.seeProblem("control-waits")
	f.t.Logf("it serves %v after power-on", time.Since(vps.on).Round(time.Second))

	if got := f.init(vps); !strings.Contains(got, "was made, for a year") || !strings.Contains(got, "joins its tailnet") {
		f.t.Errorf("init says %s", got)
	}
	if fi, err := os.Stat(f.dir + "/secrets/headscale.key"); err != nil || fi.Mode().Perm() != 0o600 {
		f.t.Errorf("the API key is kept as %v, %v", fi, err)
	}
	if _, err := f.client().Nodes(f.t.Context()); err != nil {
		f.t.Error(err)
	}
	f.t.Logf("vps joined after %v", vps.seeJoined())
	if got := f.init(vps); !strings.Contains(got, "is good") || !strings.Contains(got, "is a member") {
		f.t.Errorf("the second time, init says %s", got)
	}
	if n := f.nodes()["vps"]; !slices.Equal(n.Tags, []string{"tag:k3s-control", "tag:site-cloud"}) {
		f.t.Errorf("listed as %+v", n)
	}
	if text := vps.sh("cat /boot/firmware/node.yaml"); !strings.Contains(text, "sealed: true") || strings.Contains(text, "PRIVATE KEY") {
		f.t.Errorf("node.yaml:\n%s", text)
	}
	f.t.Log(vps.sh("systemd-analyze security headscale.service | tail -n 1; ps -o rss=,user= -C headscale"))
	return vps
}

// lives: who is a member stays so over the loss of Headscale's data and a reboot.
func (f *ownFleet) lives(vps *machine) {
	f.t.Helper()
	before := f.nodes()
	f.losesItsDatabase(vps, before)
	vps.reboot()
	after := f.nodes()
	if len(after) != len(before) {
		f.t.Errorf("after a reboot: %+v, before %+v", after, before)
	}
	for name, n := range before {
		if after[name].ID != n.ID || !slices.Equal(after[name].Addresses, n.Addresses) {
			f.t.Errorf("%s after a reboot: %+v, before %+v", name, after[name], n)
		}
	}
}

// losesItsDatabase: the timer's service makes a copy, and a server without data
// starts with it.
func (f *ownFleet) losesItsDatabase(vps *machine, before map[string]headscale.Node) {
	f.t.Helper()
	f.t.Log(vps.sh(`systemctl start headscale-backup && systemctl stop headscale && rm -r /var/lib/headscale/* && systemctl start headscale
		systemctl list-timers headscale-backup.timer --no-legend; ls -l /var/backups/headscale; journalctl -b -u headscale -o cat | grep ' is back'`))
	for end := time.Now().Add(stepLimit); ; time.Sleep(2 * time.Second) {
		list, err := f.client().Nodes(f.t.Context())
		if err == nil && len(list) == len(before) && !slices.ContainsFunc(list, func(n headscale.Node) bool {
			return !n.Online || before[n.GivenName].ID != n.ID || !slices.Equal(before[n.GivenName].Addresses, n.Addresses)
		}) {
			return
		}
		if time.Now().After(end) {
			f.t.Fatalf("brought back: %+v (%v), before %+v", list, err, before)
		}
	}
}

// joins makes a machine join the VPS' tailnet, as any further node would.
func (f *ownFleet) joins(img string, card []string) *machine {
	f.t.Helper()
	c := f.answer("box")
	users, err := f.client().Users(f.t.Context())
	if err != nil || len(users) != 1 {
		f.t.Fatal(users, err)
	}
	key, err := f.client().CreateKey(f.t.Context(), headscale.KeyRequest{User: users[0].ID, Tags: []string{"tag:k3s-agent", "tag:site-home"}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		f.t.Fatal(err)
	}
	c.Headscale.AuthKey, c.Network.Interfaces = key.Key, []node.Interface{lanAddresses(2)}
	box := newMachine(f.t, "generic-amd64", img)
	box.personalise(c)
	box.powerOn(card...)
	box.seeProblem("waiting-server")
	if n, ok := f.nodes()["box"]; !ok || !n.Online {
		f.t.Errorf("listed as %+v", n)
	}
	return box
}

// outside scans the VPS as the Internet sees it.
func (f *ownFleet) outside(box *machine, scanner string) {
	f.t.Helper()
	box.sh("mkdir -p /var/tmp/scan && curl -sf %s -o /var/tmp/scan/scan && chmod +x /var/tmp/scan/scan; sysctl -qw net.netfilter.nf_conntrack_max=262144", scanner)
	for args, want := range map[string]string{
		"-from 203.0.113.2 tcp 203.0.113.1 1-65535":                            fmt.Sprintf("22 %d", f.port),
		"-from 2001:db8:77::2 tcp 2001:db8:77::1 1-1024 3478 9090 50443":       "22",
		fmt.Sprintf("-from 2001:db8:77::2 tcp 2001:db8:77::1 %d", f.port):      fmt.Sprint(f.port),
		"-from 203.0.113.2 udp 203.0.113.1 1-1024 3478 8472 9090 50443 51820":  "",
		"-from 2001:db8:77::2 udp 2001:db8:77::1 1-1024 8472 9090 50443 51820": "",
	} {
		if got := box.sh("/var/tmp/scan/scan -wait 2s %s | sort -n | awk '$2 == \"open\" { print $1 }' | xargs", args); got != want {
			f.t.Errorf("scan %s: %q, want %q alone", args, got, want)
		}
	}
	question := regexp.MustCompile("..").ReplaceAllString(hex.EncodeToString(stun.Request(stun.NewTxID())), `\x$0`)
	// Through a file: bash's printf sends a separate datagram for every line.
	if got := box.sh("printf '%s' >/run/question; exec 3<>/dev/udp/203.0.113.1/3478; cat /run/question >&3; timeout 10 head -c 20 <&3 | wc -c", question); got != "20" {
		f.t.Errorf("STUN answers %s bytes", got)
	}
}
