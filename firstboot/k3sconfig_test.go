package firstboot_test

import (
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot"
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
