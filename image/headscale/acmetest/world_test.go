//go:build linux

// Package acmetest lets the node that runs Headscale get a certificate by ACME: with all
// steps of firstboot, the real Headscale with firstboot's settings on its real ports behind
// the node's own firewall, and Pebble as the authority at the other end of the network.
package acmetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// The addresses of the machine and the world. Both are reserved for documentation (RFC
// 5737), and look public to programs.
const (
	ownAddress   = "203.0.113.20"
	worldAddress = "203.0.113.30"
)

// alone runs the test again in a network namespace of its own, with the world's name server,
// and reports whether this is that run.
func alone(t *testing.T) bool {
	t.Helper()
	const sign = "ACME_TEST_ALONE"
	if os.Getenv(sign) != "" {
		return true
	}
	headscaletest.Build(t) // the modules can be fetched out here only
	headscaletest.Pebble(t)
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), sign+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v (run the tests as root)\n%s", err, out)
	}
	return false
}

// world is what is around the machine: a name server, and an authority.
type world struct {
	t     *testing.T
	dir   string
	pid   int // of the process that keeps its network namespace
	names *names
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir()}
	keeper := exec.Command("sleep", "infinity")
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	w.start(keeper)
	w.pid = keeper.Process.Pid
	w.write("resolv.conf", "nameserver "+worldAddress+"\noptions attempts:1 timeout:2\n")
	w.sh("mount --make-rprivate /; mount --bind %s/resolv.conf /etc/resolv.conf", w.dir)
	w.sh(`ip link set lo up; ip link add name eth0 type veth peer name eth0 netns %d
		ip addr add %s/24 dev eth0; ip link set eth0 up`, w.pid, ownAddress)
	w.sh("nsenter --target %d --net -- sh -euc 'ip link set lo up; ip addr add %s/24 dev eth0; ip link set eth0 up'", w.pid, worldAddress)
	w.serveNames()
	w.plainly()
	return w
}

func (w *world) sh(format string, args ...any) {
	w.t.Helper()
	script := fmt.Sprintf(format, args...)
	if out, err := exec.Command("sh", "-euc", script).CombinedOutput(); err != nil {
		w.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// start runs a program until the test ends.
func (w *world) start(cmd *exec.Cmd) {
	w.t.Helper()
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// run starts a program in the world, and returns where its log is.
func (w *world) run(env []string, argv ...string) (log string) {
	w.t.Helper()
	log = w.write(filepath.Base(argv[0])+".log", "")
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("nsenter", append([]string{"--target", fmt.Sprint(w.pid), "--net", "--"}, argv...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.start(cmd)
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("%s:\n%s", log, last(log, 6000))
		}
	})
	return log
}

func (w *world) write(name, text string) string {
	w.t.Helper()
	name = filepath.Join(w.dir, name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return name
}

func last(file string, n int) string {
	text, _ := os.ReadFile(file)
	return string(text[max(0, len(text)-n):])
}

// within runs do in the world's network namespace: a socket belongs to the namespace in
// which it was made. The thread is switched back and kept, as its end would also end the
// processes that it started (Pdeathsig).
func (w *world) within(do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", w.pid))
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = do()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back)
	}
	return err
}

// client is an HTTP client in the world for which every name resolves to one address.
func (w *world) client(address string, roots *x509.CertPool) *http.Client {
	dial := func(ctx context.Context, network, at string) (conn net.Conn, err error) {
		_, port, _ := net.SplitHostPort(at)
		err = w.within(func() (err error) {
			conn, err = (&net.Dialer{Timeout: 10 * time.Second, Control: mark}).DialContext(ctx, network, net.JoinHostPort(address, port))
			return err
		})
		return conn, err
	}
	return &http.Client{
		Timeout:       30 * time.Second,
		Transport:     &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// mark exempts a connection from plainly's redirection.
func mark(_, _ string, c syscall.RawConn) (err error) {
	cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, 1) })
	return errors.Join(cerr, err)
}

// plainly makes Pebble's requests look like Let's Encrypt's. Pebble sends "Host: NAME:80",
// but autocert recognises its name only without a port.
func (w *world) plainly() {
	w.t.Helper()
	const at = worldAddress + ":8080"
	w.sh(`nsenter --target %d --net -- nft 'table ip plainly { chain output { type nat hook output priority -100;
		ip daddr %s tcp dport 80 meta mark != 1 dnat to %s; }; }'`, w.pid, ownAddress, at)
	var l net.Listener
	if err := w.within(func() (err error) {
		l, err = net.Listen("tcp", at)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	front := &httputil.ReverseProxy{Transport: w.client(ownAddress, nil).Transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", ownAddress
		r.Out.Host, _, _ = net.SplitHostPort(r.In.Host)
	}}
	server := &http.Server{Handler: front}
	go func() { _ = server.Serve(l) }()
	w.t.Cleanup(func() { server.Close() })
}

func (w *world) await(what string, ask func() error) {
	w.t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = ask(); err == nil {
			return
		}
	}
	w.t.Fatalf("%s: %v", what, err)
}

// authority is a running Pebble.
type authority struct {
	*world
	directory string
	ca        string // the CA certificate of the authority and of its certificates
	roots     *x509.CertPool
	log       string
}

// newAuthority starts an authority whose certificates are valid for some seconds, and which
// refuses blocked.example.net.
func (w *world) newAuthority(seconds int) *authority {
	w.t.Helper()
	cert, key, own := w.identity()
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": worldAddress + ":14000", "managementListenAddress": worldAddress + ":15000", "certificate": cert, "privateKey": key,
		"httpPort": 80, "tlsPort": 443, "domainBlocklist": []string{"blocked.example.net"},
		"retryAfter": map[string]int{"authz": 1, "order": 1}, "profiles": map[string]any{"default": map[string]any{"description": "one", "validityPeriod": seconds}},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	program := headscaletest.Pebble(w.t)
	// Headscale 0.29 reads the authority's errors before autocert can retry. So no attempt
	// survives a rejected nonce, and Pebble rejects 5 % by default.
	env := []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0"}
	a := &authority{world: w, directory: "https://" + worldAddress + ":14000/dir", roots: x509.NewCertPool()}
	a.log = w.run(env, program, "-config", w.write("pebble.json", string(config)), "-dnsserver", worldAddress+":53")
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM([]byte(own))
	w.await("the authority", func() error {
		resp, err := w.client(worldAddress, trusted).Get("https://" + worldAddress + ":15000/roots/0")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		root, err := io.ReadAll(resp.Body)
		a.ca = own + string(root)
		if !a.roots.AppendCertsFromPEM(root) {
			return errors.New("it shows no root")
		}
		return err
	})
	return a
}

// count says how often its log has a text.
func (a *authority) count(text string) int {
	log, err := os.ReadFile(a.log)
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.Count(string(log), text)
}

// orders is how many orders the authority accepted.
func (a *authority) orders() int { return a.count("Added order ") }

// identity makes the certificate that the authority's own address shows.
func (w *world) identity() (cert, key, text string) {
	w.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.ParseIP(worldAddress)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		w.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		w.t.Fatal(err)
	}
	text = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return w.write("pebble.crt", text), w.write("pebble.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))), text
}
