package fleet

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// TestApplications: the names are complete and resolve to the nodes that run workloads. Only
// the node that runs Headscale gets them.
func TestApplications(t *testing.T) {
	code := []string{"code.going-mobile.example.net"}
	for _, c := range []struct {
		name    string
		changes []string
		want    node.Names
	}{
		{"agents", []string{"sites:\n", "  names: {hosts: [code]}\nsites:\n"}, node.Names{Hosts: code, Nodes: []string{"home-box", "cabin-box"}}},
		{"work on servers, too", []string{"sites:\n", "  names: {hosts: [code]}\nsites:\n", "  k3s:\n", "  k3s:\n    workOnServers: true\n"},
			node.Names{Hosts: code, Nodes: []string{"home-pi", "cabin-pi", "home-box", "cabin-box"}}},
		{"no agents", []string{"sites:\n", "  names: {hosts: [code]}\nsites:\n", "agent}", "server}"},
			node.Names{Hosts: code, Nodes: []string{"home-pi", "cabin-pi", "home-box", "cabin-box"}}},
		{"a domain", []string{"sites:\n", "  names: {domain: apps.home.test, hosts: [a, b]}\nsites:\n"},
			node.Names{Hosts: []string{"a.apps.home.test", "b.apps.home.test"}, Nodes: []string{"home-box", "cabin-box"}}},
		{"the tailnet's own", []string{"sites:\n", "  names: {domain: tailnet.internal, hosts: [a]}\nsites:\n"},
			node.Names{Hosts: []string{"a.tailnet.internal"}, Nodes: []string{"home-box", "cabin-box"}}},
		{"a domain alone", []string{"sites:\n", "  names: {domain: apps.home.test}\nsites:\n"}, node.Names{}},
		{"none", nil, node.Names{}},
	} {
		f, err := Load("fleet.yaml", []byte(strings.NewReplacer(c.changes...).Replace(string(Example))), nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, f.Applications()); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
		for _, name := range f.Nodes.Names {
			f.Cluster.K3s.CA, f.Cluster.Headscale.Server = Ref{}, Server{}
			cfg, err := f.answer(name, placeholder)
			if err != nil {
				t.Fatal(err)
			}
			want := node.Names{}
			if name == f.Control() {
				want = c.want
			}
			if diff := cmp.Diff(want, cfg.Names()); diff != "" {
				t.Errorf("%s: %s is told\n%s", c.name, name, diff)
			}
		}
	}
}

func TestNamesRefused(t *testing.T) {
	for _, c := range []struct{ names, url, want string }{
		{"{hosts: [code, Code]}", "", `field "cluster.names.hosts[1]": want a host name`},
		{"{hosts: [code.box]}", "", `field "cluster.names.hosts[0]": want a host name`},
		{"{hosts: ['']}", "", `field "cluster.names.hosts[0]": is missing`},
		{"{hosts: [a, b, a]}", "", `field "cluster.names.hosts[2]": is there twice`},
		{"{host: [a]}", "", `field "cluster.names.host": unknown (did you mean "hosts"?)`},
		{"{domain: apps, hosts: [a]}", "", `field "cluster.names.domain": want small letters`},
		{"{domain: '*.example.net'}", "", `field "cluster.names.domain": want small letters`},
		{"{domain: a..b}", "", `field "cluster.names.domain": want small letters`},
		{"{domain: a.b-}", "", `field "cluster.names.domain": want small letters`},
		{"{domain: " + strings.Repeat("a.", 127) + "b}", "", `field "cluster.names.domain": want small letters`},
		{"{domain: " + strings.Repeat("a.", 120) + "b, hosts: [nextcloud-of-ours]}", "", `field "cluster.names.hosts[0]": want small letters`},
		{"{domain: example.net, hosts: [headscale]}", "", `field "cluster.names.hosts[0]": is the Headscale's own name`},
		{"{domain: net.test, hosts: [example]}", "https://hs.example.net.test", `field "cluster.names.hosts[0]": is the Headscale's own name, or above it`},
		{"{domain: tailnet.internal, hosts: [cabin-pi]}", "", `field "cluster.names.hosts[0]": is a node's name in that domain`},
		{"{hosts: [a]}", "https://192.0.2.7", `field "cluster.names.domain": is missing, and the address of your Headscale has no domain`},
	} {
		text := strings.Replace(string(Example), "sites:\n", "  names: "+c.names+"\nsites:\n", 1)
		if c.url != "" {
			text = strings.NewReplacer(ExampleHeadscale, c.url, "      hostKey:", "      cert: {env: X}\n      key: {env: X}\n      hostKey:").Replace(text)
		}
		_, err := Load("fleet.yaml", []byte(text), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), "field ") != 1 || !strings.Contains(err.Error(), "fleet.yaml:") {
			t.Errorf("%s: %v", c.names, err)
		}
	}
	// An invalid address is reported in its own place.
	oops := strings.NewReplacer("sites:\n", "  names: {domain: apps.home.test, hosts: [a]}\nsites:\n", ExampleHeadscale, "'https://[oops'").Replace(string(Example))
	if _, err := Load("fleet.yaml", []byte(oops), nil); err == nil || strings.Contains(err.Error(), "names") {
		t.Error(err)
	}
	// A domain is not required if there are no names below it.
	f, err := Load("fleet.yaml", []byte(strings.NewReplacer(ExampleHeadscale, "https://192.0.2.7", "      hostKey:", "      cert: {env: X}\n      key: {env: X}\n      hostKey:").Replace(string(Example))), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := f.Domain(); !errors.Is(err, ErrNoDomain) {
		t.Errorf("%q, %v", d, err)
	}
}
