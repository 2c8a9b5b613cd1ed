package node_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// atHome returns the findings for the writer of a node.yaml that a node has to accept.
func atHome(t *testing.T, yaml string) error {
	t.Helper()
	c := load(t, yaml)
	doc, err := strictyaml.Parse("node.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	found := doc.Findings()
	c.RefuseAtHome(found)
	return found.Err()
}

// TestOnlyAtHome: values that nodes may already run with are refused when a node.yaml is written,
// with their line, but do not count as damage on a node. Correct values that look similar are
// accepted.
func TestOnlyAtHome(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"gateway: 192.168.1.1", "gateway: 192.168.2.1", `node.yaml:19: field "network.interfaces[0].gateway": is in none of the networks of addresses`},
		{"gateway: 192.168.1.1", "gateway: fe80::1", ""},
		{"gateway: 192.168.1.1, ", "", ""},
		{"addresses: [192.168.1.10/24]", "addresses: [10.0.0.2/8, 192.168.1.10/24]", ""},
		{"wifi-secret", strings.Repeat("x", 64), `node.yaml:21: field "network.wifi.psk": want a passphrase of 8 to 63 plain characters, or a key of 64 hex digits`},
		{"wifi-secret", strings.Repeat("x", 63), ""},
		{"wifi-secret", strings.Repeat("0aF9", 16), ""},
		{"files:\n", "files:\n- {path: /etc/sysctl.d/50-own.conf/a/b, content: x}\n", `node.yaml:29: field "files[0].path": is below /etc/sysctl.d/50-own.conf, which is a file of this list`},
		{"files:\n", "files:\n- {path: /etc/sysctl.d/50-own.confa, content: x}\n", ""},
	} {
		if !strings.Contains(full, c.from) {
			t.Fatalf("no %q", c.from)
		}
		err := atHome(t, strings.Replace(full, c.from, c.to, 1))
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.to, err, c.want)
		}
	}
}

// TestOwnLabels: labels with which the kubelet refuses to start are refused at home, with their
// line, and no others.
func TestOwnLabels(t *testing.T) {
	const kubelet = "no node may give itself this label"
	for _, c := range []struct{ label, want string }{
		{"disk", ""},
		{"example.net/disk", ""},
		{"notkubernetes.io/disk", ""},
		{"node.kubernetes.io/worker", ""},
		{"gpu.node.kubernetes.io/fast", ""},
		{"kubelet.kubernetes.io/x", ""},
		{"beta.kubernetes.io/instance-type", ""},
		{"node.longhorn.io/create-default-disk", ""},
		{"node-role.kubernetes.io/worker", kubelet},
		{"node-restriction.kubernetes.io/x", kubelet},
		{"kubernetes.io/x", kubelet},
		{"kubernetes.io/instance-type", kubelet},
		{"k8s.io/x", kubelet},
		{"cluster-api.k8s.io/x", kubelet},
		{"failure-domain.kubernetes.io/zone", kubelet},
		{"kubernetes.io/hostname", "is what the node finds out itself"},
		{"kubernetes.io/arch", "is what the node finds out itself"},
		{"beta.kubernetes.io/os", "is what the node finds out itself"},
		{"failure-domain.beta.kubernetes.io/region", "comes from site"},
	} {
		err := atHome(t, withLabel(c.label))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.label, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), `node.yaml:12: field "k3s.labels.`+c.label+`": `+c.want)):
			t.Errorf("%s: %v, want %s", c.label, err, c.want)
		}
	}
}

func withLabel(label string) string {
	return strings.Replace(full, "example.net/disk: ssd", "own: a, "+label+": ssd", 1)
}
