package node_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// server is a server's file with further settings of k3s.
func server(t *testing.T, name, config string) node.Named {
	t.Helper()
	c := load(t, strings.Replace(full, "node: home-pi", "node: "+name, 1))
	c.K3s.Config = nil
	if err := yaml.Unmarshal([]byte("{"+config+"}"), &c.K3s.Config); err != nil {
		t.Fatal(err)
	}
	return node.Named{File: name + ".yaml", Config: c}
}

// TestServersMustBeAlike: settings that k3s or etcd wants to be equal are refused if they differ,
// however they are written, and no others.
func TestServersMustBeAlike(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"", "", ""},
		{"", "etcd-arg: heartbeat-interval=500", ""},
		{"", "etcd-arg: [--election-timeout=5000]", ""},
		{"", "etcd-arg: [heartbeat-interval=400]", "etcd-arg heartbeat-interval"},
		{"", "etcd-arg: [election-timeout=9000, quota-backend-bytes=1]", "etcd-arg election-timeout"},
		{"etcd-arg: [snapshot-count=1]", "", ""},
		{"", "cluster-cidr: [10.42.0.0/16]", ""},
		{"cluster-cidr: [10.0.0.0/16, 10.1.0.0/16]", `cluster-cidr: "10.0.0.0/16,10.1.0.0/16"`, ""},
		{"", "cluster-cidr: 10.99.0.0/16", "cluster-cidr"},
		{"service-cidr: 10.50.0.0/16", "service-cidr: 10.50.0.0/16, cluster-dns: 10.50.0.10", ""},
		{"", "service-cidr: 10.50.0.0/16, cluster-dns: 10.43.0.10", "service-cidr"},
		{"", "cluster-dns: 10.43.0.9", "cluster-dns"},
		{"", "cluster-domain: home.arpa", "cluster-domain"},
		{"disable-network-policy: false", "disable-network-policy: true", "disable-network-policy"},
		{"", "disable-cloud-controller: true", "disable-cloud-controller"},
		{"", "disable-helm-controller: true", "disable-helm-controller"},
		{"", "flannel-backend: wireguard-native", "flannel-backend"},
		{"", "flannel-external-ip: true", "flannel-external-ip"},
		{"", "flannel-ipv6-masq: true", "flannel-ipv6-masq"},
		{"", "egress-selector-mode: disabled", "egress-selector-mode"},
		{"", "secrets-encryption: true", "secrets-encryption"},
		{"", "secrets-encryption-provider: secretbox", "secrets-encryption-provider"},
		{"", "embedded-registry: true", "embedded-registry"},
		{"", "supervisor-metrics: true", "supervisor-metrics"},
		{"disable: traefik", `disable: "traefik,servicelb"`, "disable=servicelb"},
		{"disable: traefik", "disable: [metrics-server]", ""},
	} {
		err := node.CheckServers([]node.Named{server(t, "home-pi", c.a), server(t, "cabin-pi", c.b)})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("{%s} and {%s}: %v", c.a, c.b, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), `cabin-pi.yaml: field "k3s.config.`+c.want+`": is `) || strings.Count(err.Error(), "\n") > 0):
			t.Errorf("{%s} and {%s}: %v, want %s", c.a, c.b, err, c.want)
		}
	}
}

func TestServersMustShareTheirTokens(t *testing.T) {
	a, b := server(t, "home-pi", ""), server(t, "cabin-pi", "")
	b.K3s.Token = "k3s-secret" // the same, without its pin
	if err := node.CheckServers([]node.Named{a, b}); err != nil {
		t.Error(err)
	}
	b.K3s.Token, b.K3s.AgentToken = "k3s-secret-2", "agent-secret-2"
	err := node.CheckServers([]node.Named{a, b})
	if err == nil || !strings.Contains(err.Error(), "k3s.token") || !strings.Contains(err.Error(), "k3s.agentToken") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	b.Config = b.Seal()
	if err := node.CheckServers([]node.Named{a, b}); err != nil {
		t.Errorf("a sealed one has no tokens: %v", err)
	}
}

// TestEtcdTimingsThatEtcdRefuses: otherwise only a k3s that does not start would show them.
func TestEtcdTimingsThatEtcdRefuses(t *testing.T) {
	for _, args := range []string{"heartbeat-interval=1001", "election-timeout=2499", "election-timeout=50001", "heartbeat-interval=500ms", "election-timeout=5s", "heartbeat-interval=0"} {
		_, err := node.Load("node.yaml", []byte(strings.Replace(full, "disable: [traefik]", "etcd-arg: "+args, 1)))
		if err == nil || !strings.Contains(err.Error(), `"k3s.config.etcd-arg": etcd wants`) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestParseArgs reads an annotation as k3s 1.36 writes it.
func TestParseArgs(t *testing.T) {
	f, err := node.ParseArgs(`["server","--token","********","--node-name","home-pi","--cluster-init","--etcd-arg","--election-timeout=9000","--etcd-arg","heartbeat-interval=900","--disable","traefik","--disable","servicelb","--secrets-encryption","true"]`)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"cluster-init": {"true"}, "etcd-arg": {"--election-timeout=9000", "heartbeat-interval=900"}, "disable": {"traefik", "servicelb"}, "node-name": {"home-pi"}} {
		if !slices.Equal(f[name], want) {
			t.Errorf("%s: %q", name, f[name])
		}
	}
	want := []string{"disable=servicelb", "etcd-arg election-timeout", "etcd-arg heartbeat-interval", "secrets-encryption"}
	if got := node.Unlike(f.Alike(), node.Flags{}.Alike()); !slices.Equal(got, want) {
		t.Errorf("unlike a plain server in %q", got)
	}
	for i, flag := range []string{"disable", "etcd-arg", "etcd-arg", "secrets-encryption"} {
		if got := node.FlagOf(want[i]); got != flag {
			t.Errorf("%s is of %s", want[i], got)
		}
	}
	if f, err := node.ParseArgs(`["agent","--node-name","cabin-box"]`); err != nil || f != nil {
		t.Errorf("an agent: %v, %v", f, err)
	}
	if _, err := node.ParseArgs("no JSON"); err == nil {
		t.Error("accepted")
	}
	if s := fmt.Sprint(node.Flags{}.Alike()["cluster-dns"]); s != "10.43.0.10" {
		t.Errorf("the name server is %s", s)
	}
}

// TestUnfit: settings that firstboot decides must not be extended either; settings that a node
// itself refuses are not reported twice.
func TestUnfit(t *testing.T) {
	s := node.Settings{"kubelet-arg+": "v=2", "node-label+": "a=b", "node-ip": "10.0.0.1", "bogus": 1}
	got := s.Unfit(node.Agent)
	if len(got) != 2 || got["bogus"] == nil || got["node-label+"] == nil || got["node-label+"].Error() != "is decided by firstboot: remove it" {
		t.Errorf("%v", got)
	}
}
