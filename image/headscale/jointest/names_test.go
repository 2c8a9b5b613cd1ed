//go:build linux

package jointest

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gopkg.in/yaml.v3"
	"tailscale.com/client/local"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// vps is the machine that runs Headscale: all steps of firstboot in a directory, beside a
// real server with the dns settings that firstboot writes.
type vps struct {
	t   *testing.T
	dir string
	s   *headscaletest.Server
}

const vpsYAML = `version: 1
node: vps
site: cloud
role: control
headscale: {url: "https://headscale.example.net"}
control: {names: {hosts: [code.apps.example.net, cloud.apps.example.net], nodes: [home-box, cabin-box]}}
`

// Files of the machine.
const (
	vpsConfig = "etc/headscale/config.yaml"
	vpsNames  = "var/lib/headscale/names.json"
)

func newVPS(t *testing.T, s *headscaletest.Server) *vps {
	v := &vps{t, t.TempDir(), s}
	for name, text := range map[string]string{
		"boot/firmware/imagebuilder.json": "{}", "boot/firmware/node.yaml": vpsYAML,
		"usr/lib/systemd/system/headscale.service": "", "usr/share/zoneinfo/Etc/UTC": "", "etc/machine-id": "",
	} {
		file := filepath.Join(v.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// pass lets firstboot go over the machine once: it waits for its own key then.
func (v *vps) pass() {
	v.t.Helper()
	h := host.New(v.dir, nil)
	h.System, h.Units, h.Net, h.Tailnet, h.Clock, h.Programs = named{}, allRun{}, answers{linked{}}, nobody{}, steady{h.Clock}, onServer{v.s}
	ctx, cancel := context.WithTimeout(v.t.Context(), time.Minute)
	defer cancel()
	var last firstboot.Status
	_ = firstboot.Run(ctx, h, firstboot.Options{}, func(s firstboot.Status) {
		if last = s; s.Problem != nil {
			cancel()
		}
	})
	if last.Problem == nil || last.Problem.Code != "control-waits" {
		v.t.Fatal(last.Line())
	}
}

func (v *vps) read(name string) []byte {
	v.t.Helper()
	text, err := os.ReadFile(filepath.Join(v.dir, name))
	if err != nil {
		v.t.Fatal(err)
	}
	return text
}

// serve starts the server with the settings that firstboot wrote.
func (v *vps) serve() {
	v.t.Helper()
	var config struct{ DNS map[string]any }
	if err := yaml.Unmarshal(v.read(vpsConfig), &config); err != nil {
		v.t.Fatal(err)
	}
	if config.DNS["extra_records_path"] != "/"+vpsNames {
		v.t.Fatalf("dns: %v", config.DNS)
	}
	config.DNS["extra_records_path"] = filepath.Join(v.dir, vpsNames)
	v.s.Configure("dns", config.DNS)
}

type named struct{}

func (named) Hostname() (string, error) { return "vps", nil }
func (named) SetHostname(string) error  { return nil }

type allRun struct{ running }

func (allRun) Ready(context.Context, string) (bool, error) { return true, nil }
func (allRun) Restart(context.Context, string) error       { return nil }

type answers struct{ linked }

func (answers) Resolve(context.Context, string) ([]netip.Addr, error) { return nil, nil }
func (answers) Control(context.Context, string, string) error         { return nil }

type nobody struct{ firstboot.Tailnet }

func (nobody) Status(context.Context) (firstboot.TailnetStatus, error) {
	return firstboot.TailnetStatus{State: "NeedsLogin"}, nil
}

type steady struct{ firstboot.Clock }

func (steady) Synced() (bool, error) { return true, nil }

// onServer asks the real server's own program.
type onServer struct{ s *headscaletest.Server }

func (p onServer) Run(_ context.Context, argv ...string) (string, error) {
	if argv[0] != "headscale" {
		return "", nil
	}
	return p.s.Command(argv[1:]...)
}

// TestNamesLeadToNodes: the server accepts firstboot's settings. A member's resolver
// resolves the names to a node that is online, and learns of each change without a restart
// of anything.
func TestNamesLeadToNodes(t *testing.T) {
	t.Parallel()
	tailscaled, s := program(t), headscaletest.Start(t)
	namesLead(t, tailscaled, s)
}

func namesLead(t *testing.T, tailscaled string, s *headscaletest.Server) {
	v := newVPS(t, s)
	v.pass()
	v.serve()
	client := newMachine(t, "laptop", s, s.Key("tag:site-a", time.Hour).Key)
	client.start(tailscaled)
	client.want("")
	client.asked("code.apps.example.net", "")

	box := newMachine(t, "home-box", s, s.Key("tag:site-a", time.Hour).Key)
	box.start(tailscaled)
	box.want("")
	v.pass()
	client.asked("code.apps.example.net", nodes(t, s)["home-box"].Addresses[0].String())
	client.asked("cloud.apps.example.net", nodes(t, s)["home-box"].Addresses[0].String())

	other := newMachine(t, "cabin-box", s, s.Key("tag:site-b", time.Hour).Key)
	other.start(tailscaled)
	other.want("")
	box.kill()
	for end := time.Now().Add(2 * time.Minute); nodes(t, s)["home-box"].Online; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("Headscale does not see that a node is away")
		}
	}
	v.pass()
	client.asked("code.apps.example.net", nodes(t, s)["cabin-box"].Addresses[0].String())

	dns, err := client.local().DNSConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ways []string
	for suffix, way := range dns.Routes {
		if len(way) == 0 && !strings.HasSuffix(suffix, ".arpa") { // Headscale's own, of addresses
			ways = append(ways, suffix)
		}
	}
	slices.Sort(ways)
	if want := []string{"cloud.apps.example.net", "code.apps.example.net"}; !slices.Equal(ways, want) {
		t.Errorf("members ask nobody for %q, want %q", ways, want)
	}
	before := v.read(vpsNames)
	fi, _ := os.Stat(filepath.Join(v.dir, vpsNames))
	v.pass()
	if again, err := os.Stat(filepath.Join(v.dir, vpsNames)); err != nil || !os.SameFile(fi, again) || string(before) != string(v.read(vpsNames)) {
		t.Errorf("it was written again: %v", err)
	}
}

func (m *machine) local() *local.Client {
	return &local.Client{Socket: m.dir + "/sock", UseSocketOnly: true}
}

// asked waits until a machine's own resolver resolves a name to an address, "" for none.
func (m *machine) asked(name, want string) {
	m.t.Helper()
	var got string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		answer, _, err := m.local().QueryDNS(m.t.Context(), name+".", "A")
		if err != nil {
			m.t.Fatal(err)
		}
		if got = addresses(m.t, answer); got == want {
			return
		}
	}
	m.t.Fatalf("%s leads %s to %q, want %q", m.cfg.Node, name, got, want)
}

func addresses(t *testing.T, answer []byte) string {
	t.Helper()
	var msg dnsmessage.Message
	if err := msg.Unpack(answer); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, a := range msg.Answers {
		if a, ok := a.Body.(*dnsmessage.AResource); ok {
			all = append(all, netip.AddrFrom4(a.A).String())
		}
	}
	return strings.Join(all, " ")
}
