package firstboot_test

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/overlays"
)

// TestTimings: every server and witness runs etcd with the same timings, a
// server waits for a slow one, and node.yaml may say otherwise, name by name.
func TestTimings(t *testing.T) {
	patience := []string{"leader-elect-lease-duration=45s", "leader-elect-renew-deadline=30s", "leader-elect-retry-period=5s"}
	flex := "flex-volume-plugin-dir=/var/lib/kubelet/volumeplugins"
	for name, c := range map[string]struct {
		role, config string
		want         map[string][]string
	}{
		"server": {"server", "", map[string][]string{
			"etcd-arg":                          {"heartbeat-interval=500", "election-timeout=5000"},
			"kube-apiserver-arg":                {"etcd-healthcheck-timeout=10s", "etcd-readycheck-timeout=10s"},
			"kube-controller-manager-arg":       append([]string{flex}, patience...),
			"kube-scheduler-arg":                patience,
			"kube-cloud-controller-manager-arg": patience,
		}},
		"witness": {"witness", "", map[string][]string{"etcd-arg": {"heartbeat-interval=500", "election-timeout=5000"}, "kube-scheduler-arg": nil, "kube-apiserver-arg": nil}},
		"agent":   {"agent", "", map[string][]string{"etcd-arg": nil, "kube-scheduler-arg": nil}},
		"other timings": {"server", ", config: {etcd-arg: [--election-timeout=9000, snapshot-count=1], kube-scheduler-arg: leader-elect-retry-period=9s}", map[string][]string{
			"etcd-arg":           {"--election-timeout=9000", "snapshot-count=1", "heartbeat-interval=500"},
			"kube-scheduler-arg": {"leader-elect-retry-period=9s", patience[0], patience[1]},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, strings.NewReplacer("role: agent", "role: "+c.role, "bootstrapToken: k3s-token-very-secret", "token: k3s-token-very-secret"+c.config).Replace(agentYAML))
			w.peers, w.alive[cabin] = peer, true
			if s, _ := w.boot(nil); s.State != firstboot.Joined {
				t.Fatal(s.Line())
			}
			var have map[string]any
			if err := yaml.Unmarshal([]byte(w.text("/etc/rancher/k3s/config.yaml")), &have); err != nil {
				t.Fatal(err)
			}
			for key, want := range c.want {
				var got []string
				list, _ := have[key].([]any)
				for _, v := range list {
					got = append(got, v.(string))
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: %q, want %q", key, got, want)
				}
			}
		})
	}
}

// TestTheNodeKeepsWhatItNeeds from pods, by its role, and never more than a third
// of what there is.
func TestTheNodeKeepsWhatItNeeds(t *testing.T) {
	for _, c := range []struct{ role, kib, want string }{
		{"server", "3884392", "cpu: 500m\n  memory: 1216Mi\n"},
		{"server", "8030000", "cpu: 500m\n  memory: 1229Mi\n"},
		{"server", "1945000", "cpu: 500m\n  memory: 576Mi\n"},
		{"server", "1945900", "cpu: 500m\n  memory: 576Mi\n"}, // another kernel on the same board
		{"witness", "480000", "cpu: 500m\n  memory: 128Mi\n"},
		{"agent", "16300000", "cpu: 200m\n  memory: 500Mi\n"},
	} {
		w := newWorld(t, strings.NewReplacer("role: agent", "role: "+c.role, "bootstrapToken: k3s-token-very-secret", "token: k3s-token-very-secret").Replace(agentYAML))
		w.put("/proc/meminfo", "MemTotal: "+c.kib+" kB\n")
		w.peers, w.alive[cabin] = peer, true
		if s, _ := w.boot(nil); s.State != firstboot.Joined {
			t.Fatal(s.Line())
		}
		var got struct {
			Kind           string
			SystemReserved map[string]string `yaml:"systemReserved"`
		}
		text := w.text("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/20-imagebuilder.conf")
		if err := yaml.Unmarshal([]byte(text), &got); err != nil || got.Kind != "KubeletConfiguration" || !strings.HasSuffix(text, "systemReserved:\n  "+c.want) {
			t.Errorf("%s of %s kB: %v\n%s", c.role, c.kib, err, text)
		}
	}
}

// TestPodsEndBeforeTheirVolumes: of a node that restarts undrained, what writes to volumes
// goes first, Longhorn, which serves them, after that, and names last; and logind waits
// for all three.
func TestPodsEndBeforeTheirVolumes(t *testing.T) {
	w := newWorld(t, agentYAML)
	w.peers, w.alive[cabin] = peer, true
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	var got struct {
		All      string `yaml:"shutdownGracePeriod"`
		Critical string `yaml:"shutdownGracePeriodCriticalPods"`
		Groups   []struct {
			Priority int
			Seconds  int `yaml:"shutdownGracePeriodSeconds"`
		} `yaml:"shutdownGracePeriodByPodPriority"`
	}
	if err := yaml.Unmarshal([]byte(w.text("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/20-imagebuilder.conf")), &got); err != nil {
		t.Fatal(err)
	}
	if got.All != "0s" || got.Critical != "0s" {
		t.Errorf("%q and %q: the kubelet refuses these beside groups, and another file may have set them", got.All, got.Critical)
	}
	const longhorn, names = 1_000_000_000, 2_000_000_000 // longhorn-critical and system-cluster-critical
	var begin []int
	sum := 0
	for _, g := range got.Groups {
		begin, sum = append(begin, g.Priority), sum+g.Seconds
		if g.Seconds < 5 {
			t.Errorf("pods from %d on have %d s", g.Priority, g.Seconds)
		}
	}
	if !slices.Equal(begin, []int{0, longhorn, names}) {
		t.Errorf("groups begin at %d", begin)
	}
	conf, err := fs.ReadFile(overlays.FS, "k3s/files/usr/lib/systemd/logind.conf.d/10-imagebuilder-k3s.conf")
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := time.ParseDuration(string(regexp.MustCompile(`(?m)^InhibitDelayMaxSec=(.*)$`).FindSubmatch(conf)[1]))
	if err != nil || sum == 0 || time.Duration(sum)*time.Second > allowed {
		t.Errorf("pods end in %d s, logind waits %v (%v)", sum, allowed, err)
	}
}

// TestLayersAreWrittenOut before containerd counts them as unpacked, on nodes of every role.
func TestLayersAreWrittenOut(t *testing.T) {
	w := newWorld(t, agentYAML)
	w.peers, w.alive[cabin] = peer, true
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	const want = "version = 3\n\n[plugins.'io.containerd.service.v1.diff-service']\n  sync_fs = true\n"
	if text := w.text("/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/20-imagebuilder.toml"); !strings.HasSuffix(text, want) {
		t.Errorf("containerd gets\n%s", text)
	}
}

// TestTheClusterNeedsNoProxy, whatever networks it has.
func TestTheClusterNeedsNoProxy(t *testing.T) {
	for config, want := range map[string]string{
		"": ",10.42.0.0/16,10.43.0.0/16,100.64.0.0/10,",
		"cluster-cidr: 10.52.0.0/16, service-cidr: 10.53.0.0/16, ": ",10.52.0.0/16,10.53.0.0/16,100.64.0.0/10,",
	} {
		w := newWorld(t, strings.Replace(initYAML, "config: {", "config: {"+config, 1))
		if s, _ := w.boot(nil); s.State != firstboot.Joined {
			t.Fatal(s.Line())
		}
		if text := w.text("/etc/imagebuilder/proxy.env"); !strings.Contains(text, want) {
			t.Errorf("%q: no %q in\n%s", config, want, text)
		}
	}
}
