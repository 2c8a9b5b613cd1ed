//go:build vm && linux

package vmtest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// light is a real k3s that several emulated guests can carry at once.
var light = node.Settings{"disable": []string{"traefik", "metrics-server", "servicelb", "coredns", "local-storage"}}

// TestCluster grows a cluster over two sites, one node after the other, and
// then loses the node that created it: flashed anew, with the very permission
// to create a cluster, it joins the one that lives. Guests of QEMU's user
// network see each other through Headscale's relay alone.
func TestCluster(t *testing.T) {
	const boardName = "generic-amd64"
	net, img := newTailnet(t), image(t, boardName)
	servers := []string{"home-pi", "cabin-pi"}

	home := newMachine(t, boardName, img)
	cfg := net.first("home-pi")
	cfg.K3s.Servers, cfg.K3s.Config = servers, light
	home.personalise(cfg)
	home.powerOn()
	t.Logf("home-pi joined after %v", home.seeJoined())

	cabin := newMachine(t, boardName, img)
	cfg = net.member("cabin-pi", "b", node.Server)
	cfg.K3s.Servers, cfg.K3s.Config = servers, light
	cabin.personalise(cfg)
	cabin.powerOn()
	t.Logf("cabin-pi joined after %v", cabin.seeJoined())

	box := newMachine(t, boardName, img)
	cfg = net.member("cabin-box", "b", node.Agent)
	cfg.K3s.Servers = []string{"cabin-pi", "home-pi"}
	cfg.K3s.Taints = []string{"example.net/slow=true:NoSchedule"}
	box.personalise(cfg)
	box.powerOn()
	t.Logf("cabin-box joined after %v", box.seeJoined())

	at := func(name string) string { return net.nodes()[name].Addresses[0].String() }
	haveSettings(cabin, box, at)
	if got := box.sh("cat /etc/rancher/k3s/token; grep -rlF %s /etc /var /run || true", serverToken); got != agentToken {
		t.Errorf("the agent has %q, want the agents' token alone", got)
	}
	for _, m := range []*machine{home, cabin} {
		m.knows("cabin-box site-b", "cabin-pi site-b", "home-pi site-a")
	}
	id := cabin.cluster()
	if id != home.cluster() {
		t.Errorf("two clusters: %s and %s", id, home.cluster())
	}
	if tags := net.nodes()["cabin-box"].Tags; !slices.Equal(tags, []string{"tag:site-b"}) || net.unused() != 0 {
		t.Errorf("cabin-box has the tags %v, %d keys are unused", tags, net.unused())
	}

	box.powerOff()
	// Of two members of a real etcd neither may simply die: the other one then has no quorum to
	// remove it. A stand-in that is alive comes back, so it must be dead when it is deleted.
	cabin.sh("k3s kubectl delete node home-pi")
	home.Kill()
	cabin.sh("k3s kubectl delete node home-pi 2>/dev/null || true")
	if err := net.Client.DeleteNode(t.Context(), net.nodes()["home-pi"].ID); err != nil {
		t.Fatal(err)
	}
	home.flash()
	cfg = net.first("home-pi")
	cfg.K3s.Servers, cfg.K3s.Config = servers, light
	home.personalise(cfg)
	home.powerOn()
	t.Logf("home-pi, flashed anew, joined after %v", home.seeJoined())
	if got := home.sh("grep -E '^(server|cluster-init):' /etc/rancher/k3s/config.yaml"); got != "server: https://"+at("cabin-pi")+":6443" {
		t.Errorf("the new home-pi has %q", got)
	}
	if got := home.cluster(); got != id {
		t.Errorf("the new home-pi is in cluster %s, want %s", got, id)
	}
}

// haveSettings compares all settings of the server and the agent at site b.
func haveSettings(cabin, box *machine, at func(string) string) {
	cabin.t.Helper()
	want := map[string]any{
		"node-name": "cabin-pi", "node-ip": at("cabin-pi"), "advertise-address": at("cabin-pi"), "flannel-iface": "tailscale0",
		"server": "https://" + at("home-pi") + ":6443", "tls-san": []any{at("cabin-pi"), "cabin-pi"},
		"write-kubeconfig-mode": "0600", "token-file": "/etc/rancher/k3s/token", "agent-token-file": "/etc/rancher/k3s/agent-token",
		"node-label":  []any{"topology.kubernetes.io/region=site-b", "topology.kubernetes.io/zone=site-b"},
		"kubelet-arg": []any{"volume-plugin-dir=/var/lib/kubelet/volumeplugins"},
		"resolv-conf": "/run/systemd/resolve/resolv.conf",
		"disable":     []any{"traefik", "metrics-server", "servicelb", "coredns", "local-storage"},
	}
	maps.Copy(want, patience)
	cabin.hasConfig(want)
	box.hasConfig(map[string]any{
		"node-name": "cabin-box", "node-ip": at("cabin-box"), "flannel-iface": "tailscale0",
		"server": "https://" + at("cabin-pi") + ":6443", "token-file": "/etc/rancher/k3s/token",
		"node-label":  []any{"topology.kubernetes.io/region=site-b", "topology.kubernetes.io/zone=site-b"},
		"node-taint":  []any{"example.net/slow=true:NoSchedule"},
		"kubelet-arg": []any{"volume-plugin-dir=/var/lib/kubelet/volumeplugins"},
		"resolv-conf": "/run/systemd/resolve/resolv.conf",
	})
}

// cluster returns what two clusters never share: the stand-in's ID of the cluster, or the UID of
// the namespace kube-system.
func (m *machine) cluster() string {
	m.t.Helper()
	return m.sh("jq -r .ID /var/lib/rancher/k3s/server/db/etcd/standin.json 2>/dev/null || k3s kubectl get namespace kube-system -o jsonpath={.metadata.uid}")
}

// knows compares the cluster's nodes, each given as "NAME ZONE".
func (m *machine) knows(want ...string) {
	m.t.Helper()
	var list struct {
		Items []struct {
			Metadata struct {
				Name   string
				Labels map[string]string
			}
			Status struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	text := m.sh("k3s kubectl get nodes -o json")
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		m.t.Fatalf("%v: %s", err, text)
	}
	var have []string
	for _, n := range list.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				have = append(have, n.Metadata.Name+" "+n.Metadata.Labels["topology.kubernetes.io/zone"])
			}
		}
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		m.t.Errorf("%s knows of ready nodes %s, want %s", m.config.Dir, strings.Join(have, ", "), strings.Join(want, ", "))
	}
}

// TestWitness joins a witness to a server, takes the server's API away and gives it back. The
// witness has no API: it is asked whether it votes, and what the server says about its node.
func TestWitness(t *testing.T) {
	const boardName = "generic-amd64"
	net, img := newTailnet(t), image(t, boardName)
	home := newMachine(t, boardName, img)
	cfg := net.first("home-pi")
	cfg.K3s.Config = light
	home.personalise(cfg)
	home.powerOn()
	t.Logf("home-pi joined after %v", home.seeJoined())

	vps := newMachine(t, boardName, img)
	cfg = net.member("vps", "b", node.Witness)
	cfg.K3s.Servers, cfg.K3s.Config = []string{"home-pi"}, light
	vps.personalise(cfg)
	vps.powerOn()
	t.Logf("vps joined after %v", vps.seeJoined())
	home.knows("home-pi site-a", "vps site-b")
	if got := vps.sh("curl -s http://127.0.0.1:2381/readyz; grep -c disable-apiserver /etc/rancher/k3s/config.yaml"); got != "ok\n1" {
		t.Errorf("the witness answers %q", got)
	}
	if s := home.until("joined", func(s firstboot.Status) bool { return s.State == firstboot.Joined }); s.Notice != nil {
		t.Errorf("a server and its witness are unlike: %s", s.Notice.Summary)
	}

	home.sh("systemctl kill --kill-whom=main -s STOP k3s")
	s := vps.until("without a server", func(s firstboot.Status) bool { return s.Problem != nil })
	t.Logf("without a server: %s", s.Line())
	if s.Problem.Person {
		t.Errorf("a person is called: %s", s.Line())
	}
	home.sh("systemctl kill --kill-whom=main -s CONT k3s")
	vps.joins()
}
