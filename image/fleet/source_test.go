package fleet

import (
	"errors"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// TestAMistakeIsToldOnce: a mistake in the cluster's or a site's settings is in every node's
// file, but is reported once, in its own place.
func TestAMistakeIsToldOnce(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me"
	for _, c := range []struct{ from, to, want string }{
		{"  headscale:\n", "  ssh: {authorizedKeys: [" + key + ", nonsense]}\n  headscale:\n", `6: field "cluster.ssh.authorizedKeys[1]": want a line like`},
		{"  headscale:\n", "  ownerKey: nonsense\n  headscale:\n", `6: field "cluster.ownerKey": want a public key of minisign`},
		{"url: https://", "url: ftp://", `7: field "cluster.headscale.url": begins with`},
		{"    url: https://headscale.example.net\n", "", `6: field "cluster.headscale.url": is missing`},
		{"    token: {file: secrets/server.token}\n", "", `15: field "cluster.k3s.token": is missing`},
		{"    agentToken: {file: secrets/agent.token}\n", "", `15: field "cluster.k3s.agentToken": is missing`},
		{"    config: {secrets-encryption: true}", "    config: {token: x}", `19: field "cluster.k3s.config.token": is decided by firstboot`},
		{"    config: {secrets-encryption: true}", "    config: {etcd-arg: [election-timeout=1]}", `19: field "cluster.k3s.config.etcd-arg": etcd wants`},
		{"    config: {", "    init: home-box\n    config: {", `19: field "cluster.k3s.init": "home-box" is no server`},
		{"home: {timezone", "home: {page: of, timezone", `23: field "sites.home.page": want on or off`},
		{"home: {timezone", "home: {network: {ntp: [a, 'b c']}, timezone", `23: field "sites.home.network.ntp[1]": want a host name`},
		{"home: {timezone", "home: {network: {wifi: {ssid: a, country: pt}}, timezone", `23: field "sites.home.network.wifi.country": want a two-letter`},
		{"home: {timezone", "home: {network: {interfaces: [{name: eth0, vlan: 5000}]}, timezone", `23: field "sites.home.network.interfaces[0].vlan": want a VLAN tag`},
		{"home: {timezone", "home: {network: {proxy: {env: P}, noProxy: [a, b, 'c d']}, timezone", `23: field "sites.home.network.noProxy[2]": want one host name`},
		{"home-pi: {", "Home_Pi: {", `27: field "nodes.Home_Pi": want a host name`},
		{"home-pi: {", "home-pi: {labels: {kubernetes.io/x: y}, ", `27: field "nodes.home-pi.labels.kubernetes.io/x": no node may give itself`},
		{"home-pi: {", "home-pi: {network: {ntp: ['b c']}, ", `27: field "nodes.home-pi.network.ntp[0]": want a host name`},
		{"home-pi: {", "home-pi: {ssh: {authorizedKeys: [" + key + ", nonsense]}, ", `27: field "nodes.home-pi.ssh.authorizedKeys[1]": want a line like`},
		{"home-pi: {", "home-pi: {k3s: {config: {node-ip: x}}, ", `27: field "nodes.home-pi.k3s.config.node-ip": is decided`},
		{"vps: {", "vps: {storage: {encrypt: true}, ", `31: field "nodes.vps.storage.encrypt": the node that runs Headscale cannot be encrypted`},
	} {
		text := strings.Replace(string(Example), c.from, c.to, 1)
		if text == string(Example) {
			t.Fatalf("no %q in the example", c.from)
		}
		_, err := Load("fleet.yaml", []byte(text), known)
		var all strictyaml.Problems
		if !errors.As(err, &all) || len(all) != 1 || !strings.HasPrefix(err.Error(), "fleet.yaml:"+c.want) {
			t.Errorf("%s:\n got %v\nwant fleet.yaml:%s", c.to, err, c.want)
		}
	}
}

// TestAMixtureIsToldApart: in a node's ssh keys, the cluster's come first.
func TestAMixtureIsToldApart(t *testing.T) {
	text := strings.NewReplacer("  headscale:\n", "  ssh: {authorizedKeys: [one]}\n  headscale:\n", "home-pi: {", "home-pi: {ssh: {authorizedKeys: [two]}, ").Replace(string(Example))
	_, err := Load("fleet.yaml", []byte(text), known)
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), `fleet.yaml:6: field "cluster.ssh.authorizedKeys[0]"`) || !strings.Contains(err.Error(), `fleet.yaml:28: field "nodes.home-pi.ssh.authorizedKeys[0]"`) {
		t.Error(err)
	}
}

// TestSource: whole fields and entries of lists have a place in fleet.yaml, too.
func TestSource(t *testing.T) {
	text := strings.NewReplacer("home-pi: {", "home-pi: {k3s: {config: {disable: [traefik]}}, ").Replace(string(Example))
	f, err := Load("fleet.yaml", []byte(text), known)
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{fleet: f}
	for field, want := range map[string]string{
		"k3s": "nodes home-pi k3s", "k3s.config": "cluster k3s config", "k3s.config.disable[0]": "nodes home-pi k3s config disable 0",
		"k3s.config.etcd-arg[1]": "cluster k3s config etcd-arg 1", "k3s.servers": "nodes", "k3s.servers[1]": "nodes cabin-pi",
		"storage": "nodes home-pi storage", "storage.holders": "cluster storage encrypt", "network": "nodes home-pi network", "ssh": "nodes home-pi ssh", "seen": "nodes home-pi seen",
	} {
		if got := strings.Join(c.source("home-pi", field), " "); got != want {
			t.Errorf("%s comes from %s, want %s", field, got, want)
		}
	}
}
