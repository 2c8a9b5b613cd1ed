package node_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// TestLabels: what the kubelet refuses to start with is refused at home, on its line,
// and no more.
func TestLabels(t *testing.T) {
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
		{"topology.kubernetes.io/zone", "comes from site"},
		{"failure-domain.beta.kubernetes.io/region", "comes from site"},
		{"a/b/c", "is not a label name"},
		{"/x", "is not a label name"},
		{"example.net/", "is not a label name"},
	} {
		text := strings.Replace(full, "example.net/disk: ssd", "own: a, "+c.label+": ssd", 1)
		_, err := node.Load("node.yaml", []byte(text))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.label, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), `node.yaml:12: field "k3s.labels.`+c.label+`": `+c.want)):
			t.Errorf("%s: %v, want %s", c.label, err, c.want)
		}
	}
}

// TestTaints may have keys that no label may: k3s' own bear them.
func TestTaints(t *testing.T) {
	for taint, good := range map[string]bool{
		"node-role.kubernetes.io/control-plane=true:NoSchedule": true, "gpu:NoExecute": true, "a=b:c:NoExecute": false, "=x:NoExecute": false, "a/b/c=x:NoExecute": false,
	} {
		_, err := node.Load("node.yaml", []byte(strings.Replace(full, "example.net/slow=true:NoSchedule", taint, 1)))
		if (err == nil) != good {
			t.Errorf("%s: %v", taint, err)
		}
	}
}
