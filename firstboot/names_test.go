package firstboot_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

const namesFile = "/var/lib/headscale/names.json"

// namesWorld is a node that runs Headscale and serves names of applications, for
// which two nodes answer.
func namesWorld(t *testing.T) (*world, *node.Config) {
	t.Helper()
	c := controlNode(t)
	c.Control.Names = node.Names{Hosts: []string{"code.apps.example.net", "cloud.apps.example.net"}, Nodes: []string{"home-box", "cabin-box"}}
	return controlWorld(t, c), c
}

// listing is what Headscale says of nodes: each a name, the end of its addresses
// and, where it is online, a "+".
func listing(nodes ...string) string {
	var all []string
	for i, n := range nodes {
		name, online := strings.CutSuffix(n, "+")
		at := map[string]int{"home-box": 3, "cabin-box": 4}[name]
		all = append(all, fmt.Sprintf(`{"id":%d,"given_name":%q,"name":"any","ip_addresses":["100.64.0.%d","fd7a:115c:a1e0::%d"],"online":%v}`, i, name, at, at, online))
	}
	return "[" + strings.Join(all, ",") + "]"
}

// leads is where each name of the file leads, all alike.
func leads(t *testing.T, w *world) string {
	t.Helper()
	var all []struct{ Name, Type, Value string }
	if err := json.Unmarshal([]byte(w.text(namesFile)), &all); err != nil {
		t.Fatalf("%q: %v", w.text(namesFile), err)
	}
	by := map[string][]string{}
	for _, r := range all {
		by[r.Name] = append(by[r.Name], r.Type+" "+r.Value)
	}
	code, cloud := strings.Join(by["code.apps.example.net"], ", "), strings.Join(by["cloud.apps.example.net"], ", ")
	if code != cloud || len(by) > 2 {
		t.Errorf("%v", by)
	}
	return code
}

// TestNames: they lead to the nodes that answer and are in the tailnet; to those
// that are online, where any is.
func TestNames(t *testing.T) {
	const home, cabin = "A 100.64.0.3, AAAA fd7a:115c:a1e0::3", "A 100.64.0.4, AAAA fd7a:115c:a1e0::4"
	w, _ := namesWorld(t)
	for _, c := range []struct {
		name, listing, want string
		puts                int
	}{
		{"nobody joined", "null", "", 1}, // what Headscale starts with
		{"somebody else did", listing("vps+", "home-pi+"), "", 0},
		{"one, and left at once", listing("home-box"), home, 1},
		{"the same", listing("home-box"), home, 0},
		{"one is online", listing("cabin-box+", "home-box"), cabin, 1},
		{"both are", listing("cabin-box+", "home-box+"), home + ", " + cabin, 1},
		{"in another order", listing("home-box+", "vps", "cabin-box+"), home + ", " + cabin, 0},
		{"a site is lost", listing("home-box", "cabin-box+"), cabin, 1},
		{"and the other", listing("home-box", "cabin-box"), home + ", " + cabin, 1},
		{"one was deleted", listing("cabin-box"), cabin, 1},
	} {
		w.listing, w.names = c.listing, nil
		if s, _ := w.boot(anyProblem); s.Problem == nil || s.Problem.Code != "control-waits" {
			t.Fatal(s.Line())
		}
		puts := len(slices.DeleteFunc(w.names, func(call string) bool { return call != "put "+namesFile }))
		if got := leads(t, w); got != c.want || puts != c.puts {
			t.Errorf("%s: %s, written %d times; want %s, %d times", c.name, got, puts, c.want, c.puts)
		}
	}
	h := w.host()
	names, err := h.ServedNames()
	at := []string{"100.64.0.4", "fd7a:115c:a1e0::4"}
	if diff := cmp.Diff([]firstboot.Name{{Host: "code.apps.example.net", Addresses: at}, {Host: "cloud.apps.example.net", Addresses: at}}, names); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestNamesSurvive: what is known is there when Headscale starts again, and what
// it would not start with is not. Where there are none, nothing is.
func TestNamesSurvive(t *testing.T) {
	w, c := namesWorld(t)
	w.listing = listing("home-box+")
	w.boot(anyProblem)
	before := w.text(namesFile)
	w.reboot()
	w.listFault = errors.New("exit status 1: connection refused")
	if w.boot(anyProblem); w.text(namesFile) != before || !strings.Contains(before, "100.64.0.3") {
		t.Errorf("after a reboot %q, before %q", w.text(namesFile), before)
	}
	for _, spoilt := range []string{"", "[{", "\x00\x00"} {
		w.put(namesFile, spoilt)
		if w.boot(anyProblem); leads(t, w) != "" {
			t.Errorf("%q became %q", spoilt, w.text(namesFile))
		}
	}
	c.Control.Names = node.Names{}
	text, err := node.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	w.personalise(string(text))
	w.boot(anyProblem)
	if _, there := w.files[namesFile]; there || strings.Contains(w.text("/etc/headscale/config.yaml"), "names.json") {
		t.Error("a node without names has some")
	}
}

// TestNamesThatCannotBeKnown: if the members cannot be listed, the names stay as they
// were; the node says so, and joins all the same.
func TestNamesThatCannotBeKnown(t *testing.T) {
	for _, c := range []struct {
		listing string
		fault   error
		want    string
	}{
		{"", errors.New("exit status 1: unix socket: connection refused"), "connection refused"},
		{"Usage: headscale", nil, "headscale nodes list: invalid character"},
		{`[{"ip_addresses":["x"]}]`, nil, "headscale nodes list: "},
	} {
		w, _ := namesWorld(t)
		w.listing = listing("home-box")
		w.boot(anyProblem)
		w.listing, w.listFault = c.listing, c.fault
		if err := firstboot.TakeKey(w.host().Files, w.host().Clock, "hskey-auth-1"); err != nil {
			t.Fatal(err)
		}
		s, _ := w.boot(func(s firstboot.Status) bool { return s.Problem != nil && s.Problem.Code != "control-waits" })
		if s.Problem == nil || s.Problem.Code != "control" || !strings.Contains(s.Problem.Summary, c.want) || !w.running {
			t.Errorf("%s", s.Line())
		}
		if !strings.Contains(leads(t, w), "100.64.0.3") {
			t.Errorf("%q", w.text(namesFile))
		}
	}
}

// TestNamesHaveAWay: clients answer for each name themselves, but not for the domain
// above it.
func TestNamesHaveAWay(t *testing.T) {
	w, _ := namesWorld(t)
	w.boot(anyProblem)
	var have struct {
		DNS struct {
			Path        string `yaml:"extra_records_path"`
			Nameservers struct {
				Global []string
				Split  map[string][]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(w.text("/etc/headscale/config.yaml")), &have); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"code.apps.example.net": {}, "cloud.apps.example.net": {}}
	if diff := cmp.Diff(want, have.DNS.Nameservers.Split); diff != "" || have.DNS.Path != namesFile || len(have.DNS.Nameservers.Global) > 0 {
		t.Errorf("%+v\n%s", have, diff)
	}
}
