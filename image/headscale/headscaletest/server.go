//go:build linux

// Package headscaletest runs a real Headscale server for tests: built from the same module
// as for images, on loopback only, and without any connection to the Internet.
//
// It is for tests only, and fails the test instead of returning an error.
package headscaletest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
)

// Policy is a policy with two sites, whose nodes may do what k3s needs and keep their
// addresses while Headscale is down.
const Policy = `{"tagOwners":{"tag:site-a":["fleet@"],"tag:site-b":["fleet@"]},
 "nodeAttrs":[{"target":["tag:site-a","tag:site-b"],"attr":["cache-network-maps"]}],
 "acls":[{"action":"accept","src":["tag:site-a","tag:site-b"],"dst":["tag:site-a:*","tag:site-b:*"]}]}`

// Server is a running Headscale.
type Server struct {
	URL    string
	APIKey secret.String
	Client *headscale.Client
	User   headscale.ID // owns keys; its name is fleet

	t       testing.TB
	dir     string
	program string
	cmd     *exec.Cmd
	log     *os.File
	gone    chan struct{} // closed when the process has ended
}

// Start runs a server on a free port of loopback until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartAt(t, "127.0.0.1", "127.0.0.1")
}

// StartAt is Start with an address to listen on, and the host name public for the server's
// own URL, such as the name under which a virtual machine reaches loopback.
func StartAt(t testing.TB, listen, public string) *Server {
	t.Helper()
	return start(t, Build(t), listen, public)
}

func start(t testing.TB, program, listen, public string) *Server {
	t.Helper()
	// A short path: that of a Unix socket is at most 107 bytes long, unix(7).
	dir, err := os.MkdirTemp("", "hs")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, dir: dir, program: program}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("headscale's last words:\n%s", s.tail())
		}
		os.RemoveAll(dir)
	})
	port, stun, metrics, grpc := FreePort(t), FreePort(t), FreePort(t), FreePort(t)
	s.URL = fmt.Sprintf("http://%s:%d", public, port)
	s.write("config.yaml", fmt.Sprintf(config, s.URL, listen, port, metrics, grpc, dir, stun))
	s.Run()
	s.exec("users", "create", "fleet", "-o", "json")
	s.APIKey = s.NewAPIKey(365 * 24 * time.Hour)
	if s.Client, err = headscale.New(fmt.Sprintf("http://%s:%d", listen, port), s.APIKey, ""); err != nil {
		t.Fatal(err)
	}
	if text, err := s.Client.Policy(context.Background()); err != nil || text != "" {
		t.Fatalf("the policy of a new server: %q, %v", text, err)
	}
	if _, err := s.Client.SetPolicy(context.Background(), Policy); err != nil {
		t.Fatal(err)
	}
	users, err := s.Client.Users(context.Background())
	if err != nil || len(users) != 1 {
		t.Fatalf("users: %v, %v", users, err)
	}
	s.User = users[0].ID
	return s
}

const config = `server_url: %[1]s
listen_addr: %[2]s:%[3]d
metrics_listen_addr: 127.0.0.1:%[4]d
grpc_listen_addr: 127.0.0.1:%[5]d
noise: {private_key_path: %[6]s/noise_private.key}
prefixes: {v4: ` + contract.TailnetNetwork + `, v6: "fd7a:115c:a1e0::/48", allocation: sequential}
derp:
  server: {enabled: true, region_id: 999, region_code: test, region_name: test, stun_listen_addr: "%[2]s:%[7]d", private_key_path: %[6]s/derp_server_private.key, automatically_add_embedded_derp_region: true, verify_clients: false}
  urls: []
  paths: []
  auto_update_enabled: false
disable_check_updates: true
database: {type: sqlite, sqlite: {path: %[6]s/db.sqlite, write_ahead_log: true}}
log: {level: info, format: text}
policy: {mode: database}
dns: {magic_dns: true, base_domain: tailnet.example, override_local_dns: false, nameservers: {global: []}}
unix_socket: %[6]s/hs.sock
unix_socket_permission: "0700"
logtail: {enabled: false}
`

// Configure replaces a section of the server's settings, and restarts it.
func (s *Server) Configure(name string, section any) {
	s.t.Helper()
	all := map[string]any{}
	err := yaml.Unmarshal([]byte(s.read("config.yaml")), &all)
	all[name] = section
	text, merr := yaml.Marshal(all)
	if err := errors.Join(err, merr); err != nil {
		s.t.Fatal(err)
	}
	s.Stop()
	s.write("config.yaml", string(text))
	s.Run()
}

// Command runs the server's program as its operator would on the machine.
func (s *Server) Command(args ...string) (string, error) {
	cmd := exec.Command(s.program, append([]string{"-c", filepath.Join(s.dir, "config.yaml")}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("headscale %v: %w\n%s", args[:2], err, stderr.String())
	}
	return string(out), err
}

// Run starts a stopped server again, with its data.
func (s *Server) Run() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	s.log = log
	s.cmd = exec.Command(s.program, "-c", filepath.Join(s.dir, "config.yaml"), "serve")
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.gone = make(chan struct{})
	go func(cmd *exec.Cmd, gone chan struct{}) {
		_ = cmd.Wait()
		close(gone)
	}(s.cmd, s.gone)
	listen := s.listen()
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		resp, err := http.Get(listen + "/health")
		if err != nil {
			select {
			case <-s.gone:
				s.t.Fatalf("headscale ended:\n%s", s.tail())
			default:
				continue
			}
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	s.t.Fatalf("headscale does not start:\n%s", s.tail())
}

// listen is the URL at which this machine reaches the server.
func (s *Server) listen() string {
	for _, l := range strings.Split(s.read("config.yaml"), "\n") {
		if a, ok := strings.CutPrefix(l, "listen_addr: "); ok {
			return "http://" + a
		}
	}
	return s.URL
}

// NewAPIKey makes an API key as the operator would, on the machine. life is rounded down to
// hours.
func (s *Server) NewAPIKey(life time.Duration) secret.String {
	s.t.Helper()
	return secret.String(lastLine(s.exec("apikeys", "create", "--expiration", fmt.Sprintf("%dh", int(life.Hours())))))
}

// Register makes the server list a node that is offline.
func (s *Server) Register(name string) {
	s.t.Helper()
	id := fmt.Sprintf("hskey-authreq-%024d", time.Now().UnixNano())
	s.exec("debug", "create-node", "--user", "fleet", "--name", name, "--key", id)
	s.exec("auth", "register", "--user", "fleet", "--auth-id", id)
}

// NewFleet makes a fleet by fleet.Init for this server, and sets its policy there.
func (s *Server) NewFleet() *fleet.Fleet {
	s.t.Helper()
	dir := s.t.TempDir()
	if err := fleet.Init(dir, fleet.InitOptions{Name: "shed", Headscale: s.URL}, time.Now(), rand.Reader); err != nil {
		s.t.Fatal(err)
	}
	f, err := fleet.LoadFile(filepath.Join(dir, fleet.FileName), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	policy, err := f.Policy()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.Client.SetPolicy(context.Background(), string(policy)); err != nil {
		s.t.Fatal(err)
	}
	return f
}

// Tag gives a listed node the tags that it would have from its key. The server's policy must
// define them.
func (s *Server) Tag(name string, tags ...string) {
	s.t.Helper()
	nodes, err := s.Client.Nodes(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Name == name {
			s.exec("nodes", "tag", "-i", string(n.ID), "-t", strings.Join(tags, ","))
		}
	}
}

// Rename changes a node's name in the tailnet.
func (s *Server) Rename(id headscale.ID, name string) {
	s.t.Helper()
	s.exec("nodes", "rename", "-i", string(id), name)
}

// Data is the directory with the server's database and keys.
func (s *Server) Data() string { return s.dir }

// Stop kills the server, as a power cut would.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.gone
	s.log.Close()
	s.cmd = nil
}

// LockDatabase keeps the server from writing, as a slow backup of its database would, until
// unlock is called. The write lock of an SQLite database in WAL mode is byte 120 of its
// index (sqlite.org/walformat.html).
func (s *Server) LockDatabase() (unlock func()) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.dir, "db.sqlite-shm"), os.O_RDWR, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: 120, Len: 1}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if err = syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock); err == nil {
			return func() { f.Close() }
		}
		if time.Now().After(end) {
			s.t.Fatal(err)
		}
	}
}

// Key makes a single-use key for a tag.
func (s *Server) Key(tag string, life time.Duration) headscale.Key {
	s.t.Helper()
	k, err := s.Client.CreateKey(context.Background(), headscale.KeyRequest{User: s.User, Tags: []string{tag}, Expires: time.Now().Add(life)})
	if err != nil {
		s.t.Fatal(err)
	}
	return k
}

func (s *Server) exec(args ...string) string {
	s.t.Helper()
	out, err := s.Command(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *Server) write(name, content string) {
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) read(name string) string {
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func (s *Server) tail() string {
	b, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(b[max(0, len(b)-3000):])
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// FreePort returns a TCP port of loopback on which nothing listens.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Build compiles the server that images contain, into the user's cache directory, once for
// each state of its module. It returns the program.
func Build(t testing.TB) string {
	t.Helper()
	c, err := component.Find("headscale")
	if err != nil {
		t.Fatal(err)
	}
	mod, sum, err := c.ModuleFiles()
	if err != nil {
		t.Fatal(err)
	}
	return compile(t, c.Module.Package, mod, sum)
}

func compile(t testing.TB, pkg string, mod, sum []byte) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(append(sum, runtime.Version()...))
	out := filepath.Join(cache, "imagebuilder-test", path.Base(pkg)+"-"+hex.EncodeToString(digest[:8]))
	if _, err := os.Stat(out); err == nil {
		return out
	}
	tmp := fmt.Sprintf("%s.%d", out, os.Getpid())
	cmd := exec.Command("go", "build", "-o", tmp, pkg)
	cmd.Dir = t.TempDir()
	for name, data := range map[string][]byte{"go.mod": mod, "go.sum": sum} {
		if err := os.WriteFile(filepath.Join(cmd.Dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, msg)
	}
	if err := os.Rename(tmp, out); err != nil {
		t.Fatal(err)
	}
	return out
}
