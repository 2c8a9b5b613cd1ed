//go:build linux

package control

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
	"github.com/going-mobile/imagebuilder/image/vps"
)

// machine is the machine to bring into service: a real Headscale behind TLS, and an ssh server.
type machine struct {
	t     *testing.T
	hs    *headscaletest.Server
	dir   string // of the fleet
	shell net.Listener
	clock time.Duration // ahead

	mu    sync.Mutex
	asked []string
	key   string // the last key that it was given

	problem string // what it says of itself

	dead atomic.Bool   // after a login, nothing is answered
	in   chan struct{} // receives when somebody logs in while dead is set
}

const fleetYAML = `version: 1
cluster:
  name: shed
  headscale:
    url: https://example.com:%s
    apiKey: {file: secrets/headscale.key}
    ca: {file: secrets/ca.crt}
    server: {hostKey: {file: secrets/host.key}, loginKey: {file: secrets/login.key}}
  k3s: {token: {file: secrets/server.token}, agentToken: {file: secrets/agent.token}}
sites: {cloud: {}, home: {}}
nodes:
  vps: {board: generic-amd64, site: cloud, role: [control, witness]}
  home-pi: {board: rpi4, site: home, role: server}
`

func newVPS(t *testing.T) *machine {
	v := &machine{t: t, hs: headscaletest.Start(t), dir: t.TempDir(), in: make(chan struct{}, 1)}
	v.setPolicy("{}")
	u, err := url.Parse(v.hs.URL)
	if err != nil {
		t.Fatal(err)
	}
	tls := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(u))
	t.Cleanup(tls.Close)
	front, _ := url.Parse(tls.URL)
	v.write("fleet.yaml", fmt.Sprintf(fleetYAML, front.Port()))
	v.write("secrets/ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw})))
	host, login := v.newKey("secrets/host.key"), v.newKey("secrets/login.key")
	if v.shell, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.shell.Close() })
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(login.PublicKey().Marshal()) {
			return nil, fmt.Errorf("unknown")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	go v.serve(config)
	return v
}

func (v *machine) write(name, text string) {
	v.t.Helper()
	path := filepath.Join(v.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		v.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		v.t.Fatal(err)
	}
}

func (v *machine) newKey(name string) ssh.Signer {
	v.t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		v.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		v.t.Fatal(err)
	}
	v.write(name, string(pem.EncodeToMemory(block)))
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		v.t.Fatal(err)
	}
	return signer
}

func (v *machine) serve(config *ssh.ServerConfig) {
	for {
		conn, err := v.shell.Accept()
		if err != nil {
			return
		}
		go func() {
			_, channels, requests, err := ssh.NewServerConn(conn, config)
			if err != nil {
				conn.Close()
				return
			}
			if v.dead.Load() {
				v.in <- struct{}{}
				return
			}
			go ssh.DiscardRequests(requests)
			for c := range channels {
				go v.session(c)
			}
		}()
	}
}

func (v *machine) session(c ssh.NewChannel) {
	channel, requests, err := c.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	for r := range requests {
		if r.Type != "exec" {
			continue
		}
		_ = r.Reply(true, nil)
		input, _ := io.ReadAll(channel)
		out, status := v.run(string(r.Payload[4:]), string(input))
		_, _ = io.WriteString(channel, out)
		_, _ = channel.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, status))
		return
	}
}

// run does what the real machine would (firstboot/vmtest has that).
func (v *machine) run(command, input string) (out string, status uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, command)
	switch command {
	case "date +%s":
		return fmt.Sprintln(time.Now().Add(v.clock).Unix()), 0
	case "headscale apikeys create --expiration 8760h":
		return v.hs.NewAPIKey(keyLife).Reveal() + "\n", 0
	case contract.AskStatus:
		return fmt.Sprintf(`{"state":"needs-person","problem":{"code":%q,"summary":"words of %[1]s.","remedy":"Do it."}}`, v.problem), 0
	case "talk without end":
		return strings.Repeat("x", 3*vps.MaxOutput), 0
	case "firstboot key":
		v.key = strings.TrimSpace(input)
		return "", 0
	}
	return "", 127
}

func (v *machine) init() (*Done, error) {
	f, err := fleet.LoadFile(filepath.Join(v.dir, "fleet.yaml"), nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return Init(v.t.Context(), f, Address{SSH: v.shell.Addr().String(), Flag: "--address"}, time.Now)
}

func (v *machine) fails(why string, words ...string) {
	v.t.Helper()
	_, err := v.init()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			v.t.Errorf("%s: %v, want %q in it", why, err, w)
		}
	}
}

// TestInit: the first run makes everything, the second finds it; faults show before any harm.
func TestInit(t *testing.T) {
	v := newVPS(t)
	secretFile := filepath.Join(v.dir, "secrets/headscale.key")

	own := v.read("secrets/host.key")
	v.newKey("secrets/host.key")
	v.fails("another machine", "is not vps", "another ssh host key", "nothing was told to it")
	v.write("secrets/host.key", own)
	login := v.read("secrets/login.key")
	v.newKey("secrets/login.key")
	v.fails("another owner", "does not take the key")
	v.write("secrets/login.key", login)
	v.clock = time.Hour
	v.fails("a wrong clock", "the clock of vps is off by 1h0m0s")
	v.clock = 0
	if len(v.asked) != 1 || v.asked[0] != "date +%s" {
		t.Errorf("until then the machine was asked %v", v.asked)
	}
	if _, err := os.Stat(secretFile); err == nil {
		t.Error("a key was kept")
	}

	d, err := v.init()
	if err != nil || !d.Created || d.Member || d.Node != "vps" {
		t.Fatalf("%+v, %v", d, err)
	}
	if fi, err := os.Stat(secretFile); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("kept as %v, %v", fi, err)
	}
	first := v.key
	v.isSingleUse(first)
	if d, err = v.init(); err != nil || d.Created || d.Member || v.key == first {
		t.Errorf("the second time: %+v, %v", d, err)
	}
	v.isSingleUse(v.key) // the first was expired

	v.write("secrets/headscale.key", "hskey-api-abcdefghijkl-0000000000000000000000000000000000000000000000000000000000000000")
	v.fails("an older key", "there is an API key already in secrets/headscale.key")
}

// at is the place of a listener.
func at(l net.Listener) vps.Place {
	host, port, _ := net.SplitHostPort(l.Addr().String())
	return vps.Place{Host: host, Port: port}
}

// TestAskIsBounded: a machine in the wrong hands cannot fill this computer's memory.
func TestAskIsBounded(t *testing.T) {
	v := newVPS(t)
	f, err := fleet.LoadFile(filepath.Join(v.dir, "fleet.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := vps.Ask(t.Context(), f, at(v.shell), "talk without end", nil); err != nil || len(out) != vps.MaxOutput {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

// TestAskInTime: if the caller stops waiting, the error says so, not that something closed.
func TestAskInTime(t *testing.T) {
	v := newVPS(t)
	f, err := fleet.LoadFile(filepath.Join(v.dir, "fleet.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := vps.Ask(ctx, f, at(mute), "true", nil); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "closed") {
		t.Error(err)
	}
}

// TestAskOnADeadLine: after the login nothing is answered, not even the request for a session.
func TestAskOnADeadLine(t *testing.T) {
	v := newVPS(t)
	f, err := fleet.LoadFile(filepath.Join(v.dir, "fleet.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	v.dead.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := make(chan error, 1)
	go func() {
		_, err := vps.Ask(ctx, f, at(v.shell), "true", nil)
		asked <- err
	}()
	<-v.in
	time.AfterFunc(200*time.Millisecond, cancel)
	select {
	case err := <-asked:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it still waits")
	}
}

// TestItsOwnWords: if Headscale is unreachable, the machine says why, unless it knows nothing.
func TestItsOwnWords(t *testing.T) {
	v := newVPS(t)
	own := v.read("secrets/ca.crt")
	v.write("secrets/ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: otherCertificate(t)})))
	v.problem = "acme-unproved"
	v.fails("no certificate", "vps has Headscale, but not at https://example.com:", "unknown authority", `it says itself: "words of acme-unproved. Do it."`)
	v.problem = "control-waits"
	if _, err := v.init(); err == nil || strings.Contains(err.Error(), "says itself") {
		t.Error(err)
	}
	v.write("secrets/ca.crt", own)
	if _, err := v.init(); err != nil {
		t.Error(err)
	}
}

func otherCertificate(t *testing.T) []byte {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(nil, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (v *machine) read(name string) string {
	v.t.Helper()
	text, err := os.ReadFile(filepath.Join(v.dir, name))
	if err != nil {
		v.t.Fatal(err)
	}
	return string(text)
}

// isSingleUse looks for the one good key, tagged as a witness in the cloud.
func (v *machine) isSingleUse(key string) {
	v.t.Helper()
	keys, err := v.hs.Client.ListKeys(v.t.Context())
	if err != nil {
		v.t.Fatal(err)
	}
	good := 0
	for _, k := range keys {
		if k.Expiration.After(time.Now()) {
			good++
			if strings.Join(k.Tags, " ") != "tag:k3s-witness tag:site-cloud" {
				v.t.Errorf("%+v", k)
			}
		}
	}
	if good != 1 || !strings.HasPrefix(key, "hskey-auth-") {
		v.t.Errorf("%d keys are good; it was given one of %d characters", good, len(key))
	}
}

func TestUnreachable(t *testing.T) {
	v := newVPS(t)
	v.shell.Close()
	v.fails("switched off", "vps does not answer at 127.0.0.1:", "is it switched on, does the name lead to it (if not: --address), and")
	v.write("fleet.yaml", strings.Replace(v.read("fleet.yaml"), "{file: secrets/headscale.key}", "{env: HEADSCALE_API_KEY}", 1))
	os.Unsetenv("HEADSCALE_API_KEY")
	v.fails("a variable", "HEADSCALE_API_KEY is not set", "name a file")
}
