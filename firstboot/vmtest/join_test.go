//go:build vm && linux

package vmtest

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/seed"
)

// TestJoin is the life of one node: it joins when it is switched on for the
// first time, stays what it is at the second, needs no Headscale at the third,
// and keeps no secret.
func TestJoin(t *testing.T) { eachBoard(t, testJoin) }

// eachBoard runs a story on the host's own architecture, and on the other.
func eachBoard(t *testing.T, story func(*testing.T, string)) {
	for _, b := range []string{"generic-amd64", "generic-arm64"} {
		t.Run(b, func(t *testing.T) { story(t, b) })
	}
}

func testJoin(t *testing.T, boardName string) {
	net := newTailnet(t)
	m := newMachine(t, boardName, image(t, boardName))
	cfg := net.first("home-pi")
	cfg.K3s.Labels = map[string]string{"example.net/rack": "left"}
	cfg.K3s.Config = map[string]any{"kubelet-arg": "max-pods=50"}
	cfg.K3s.Seed = payload(t)
	key := cfg.Headscale.AuthKey.Reveal()
	m.personalise(cfg)

	m.powerOn()
	m.see("firstboot: working")
	m.screenshot(boardName + "-working")
	joined := m.seeJoined()
	t.Logf("%s: joined after %v; %s", boardName, joined, m.sh("systemd-analyze time | tail -n 1"))

	listed, ok := net.nodes()["home-pi"]
	if !ok || !slices.Equal(listed.Tags, []string{"tag:site-a"}) || net.unused() != 0 {
		t.Fatalf("listed as %+v, %d keys unused", listed, net.unused())
	}
	ip := listed.Addresses[0].String()
	m.isServer(ip)
	m.hasPayload()
	m.showsJoined("home-pi", ip)
	m.hidesSecrets(key)
	id := m.sh(identity)
	m.powerOff()
	if text := m.bootFile("STATUS.TXT"); !strings.Contains(text, "JOINED - everything is fine") || !strings.Contains(text, "home-pi") {
		t.Errorf("STATUS.TXT:\n%s", text)
	}
	if text := m.bootFile("node.yaml"); !strings.Contains(text, "sealed: true") || !strings.Contains(text, "node: home-pi") || strings.Contains(text, "planted-") {
		t.Errorf("node.yaml:\n%s", text)
	}
	m.diskHides(key)

	m.bootsAgain(net, listed, id)

	net.Stop()
	m.powerOn()
	t.Logf("%s: without Headscale: joined after %v", boardName, m.seeJoined())
	if got := m.sh("ip -4 -o addr show tailscale0"); !strings.Contains(got, ip+"/32") {
		t.Errorf("without Headscale the address is %s, want %s", got, ip)
	}
	m.isServer(ip)
	m.powerOff()
	m.diskHides(key)
	net.Run()
	if again := net.nodes(); len(again) != 1 || again["home-pi"].ID != listed.ID {
		t.Errorf("it joined again: %+v", again)
	}
}

// payload is everything that a fleet can make its cluster begin with.
func payload(t *testing.T) node.Seed {
	t.Helper()
	s, err := seed.New(seed.Input{
		Longhorn: &seed.Longhorn{Replicas: 2, Sites: 2, Backup: &node.S3{Endpoint: "https://s3.example.net", Region: "eu-1", Bucket: "volumes", AccessKey: "planted-access", SecretKey: "planted-secret"}},
		GitOps:   &seed.GitOps{Repo: "ssh://git@git.example.net/home/cluster.git", Path: "apps", Revision: "main", DeployKey: "planted-key"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hasPayload asks the stand-in, which accepts no unknown field. A real k3s would have to download
// charts.
func (m *machine) hasPayload() {
	m.t.Helper()
	if os.Getenv("K3S") != "" {
		return
	}
	const objects = "k3s kubectl get --raw /v1-standin/objects"
	m.sh("timeout 60 sh -c 'until " + objects + ` | grep -q "RecurringJob.*system-nightly"; do sleep 1; done'`)
	want := []string{
		"AppProject argocd/fleet", "Application argocd/root", "ConfigMap longhorn-system/longhorn-storageclass", "HelmChart kube-system/argocd", "HelmChart kube-system/longhorn",
		"Namespace argocd", "Namespace longhorn-system",
		"RecurringJob longhorn-system/backup-nightly", "RecurringJob longhorn-system/snapshot-hourly", "RecurringJob longhorn-system/system-nightly", "RecurringJob longhorn-system/trim-weekly",
		"Secret argocd/fleet-repo", "Secret longhorn-system/longhorn-s3",
	}
	var got []string
	if err := json.Unmarshal([]byte(m.sh(objects)), &got); err != nil || !slices.Equal(got, want) {
		m.t.Errorf("%v: the cluster began with %q", err, got)
	}
}

const identity = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /etc/iscsi/initiatorname.iscsi"

// bootsAgain is a boot with nothing left to do.
func (m *machine) bootsAgain(net *tailnet, listed headscale.Node, id string) {
	m.t.Helper()
	m.powerOn()
	m.t.Logf("%s: second boot: joined after %v", m.config.Board.Name, m.seeJoined())
	again := net.nodes()
	if len(again) != 1 || again["home-pi"].ID != listed.ID || again["home-pi"].Addresses[0] != listed.Addresses[0] {
		m.t.Errorf("it joined again: %+v", again)
	}
	m.isServer(listed.Addresses[0].String())
	if again := m.sh(identity); again != id {
		m.t.Errorf("another identity: %s, was %s", again, id)
	}
	m.powerOff()
}

// isServer looks at k3s on a node that created the cluster.
func (m *machine) isServer(ip string) {
	m.t.Helper()
	want := map[string]any{
		"node-name": "home-pi", "node-ip": ip, "advertise-address": ip, "flannel-iface": "tailscale0",
		"tls-san": []any{ip, "home-pi"}, "cluster-init": true, "write-kubeconfig-mode": "0600",
		"token-file": "/etc/rancher/k3s/token", "agent-token-file": "/etc/rancher/k3s/agent-token",
		"node-label":  []any{"example.net/rack=left", "topology.kubernetes.io/region=site-a", "topology.kubernetes.io/zone=site-a"},
		"kubelet-arg": []any{"max-pods=50", "volume-plugin-dir=/var/lib/kubelet/volumeplugins"},
		"resolv-conf": "/run/systemd/resolve/resolv.conf",
	}
	maps.Copy(want, patience)
	m.hasConfig(want)
	if got := m.sh("systemctl is-active k3s tailscaled; stat -c '%%a %%U' /etc/rancher/k3s/token; cat /etc/rancher/k3s/token"); got != "active\nactive\n600 root\n"+serverToken {
		m.t.Errorf("k3s: %q", got)
	}
	if got := m.sh("k3s kubectl get node home-pi -o json | jq -r '.status.conditions[] | select(.type == \"Ready\").status'"); got != "True" {
		m.t.Errorf("the node's Ready is %q", got)
	}
}

// patience are the settings that every server gets for the sake of slow disks.
var patience = map[string]any{
	"etcd-arg":                          []any{"heartbeat-interval=500", "election-timeout=5000"},
	"kube-apiserver-arg":                []any{"etcd-healthcheck-timeout=10s", "etcd-readycheck-timeout=10s"},
	"kube-controller-manager-arg":       append([]any{"flex-volume-plugin-dir=/var/lib/kubelet/volumeplugins"}, leases...),
	"kube-scheduler-arg":                leases,
	"kube-cloud-controller-manager-arg": leases,
}

var leases = []any{"leader-elect-lease-duration=45s", "leader-elect-renew-deadline=30s", "leader-elect-retry-period=5s"}

// hasConfig compares all of k3s' settings.
func (m *machine) hasConfig(want map[string]any) {
	m.t.Helper()
	text := m.sh("cat /etc/rancher/k3s/config.yaml")
	var have map[string]any
	if err := yaml.Unmarshal([]byte(text), &have); err != nil {
		m.t.Fatal(err)
	}
	a, _ := yaml.Marshal(want)
	b, _ := yaml.Marshal(have)
	if string(a) != string(b) {
		m.t.Errorf("k3s' settings are\n%swant\n%s", b, a)
	}
}

// showsJoined checks every place where the status is reported.
func (m *machine) showsJoined(name, ip string) {
	m.t.Helper()
	s := m.until("joined", func(s firstboot.Status) bool { return s.State == firstboot.Joined })
	if s.Node != name || s.Problem != nil || len(s.Tailnet) == 0 || s.Tailnet[0] != ip || len(s.Addresses) == 0 {
		m.t.Errorf("status %+v", s)
	}
	if text := m.sh("firstboot status"); !strings.Contains(text, "JOINED") {
		m.t.Errorf("firstboot status:\n%s", text)
	}
	if text := m.sh("journalctl -b -u firstboot -o cat --no-pager"); !strings.Contains(text, "firstboot: joined node="+name) {
		m.t.Errorf("journal:\n%s", text)
	}
	time := m.sh("timedatectl show -p NTPSynchronized -p Timezone")
	if !strings.Contains(time, "NTPSynchronized=yes") || !strings.Contains(time, "Europe/Lisbon") {
		m.t.Errorf("the time: %s", time)
	}
	m.screenshot(m.config.Board.Name + "-joined")
}
