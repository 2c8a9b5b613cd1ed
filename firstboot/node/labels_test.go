package node_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// TestLabels: labels that firstboot sets, and invalid ones, are refused.
func TestLabels(t *testing.T) {
	for label, want := range map[string]string{
		"topology.kubernetes.io/zone":   "comes from site",
		"topology.kubernetes.io/region": "comes from site",
		"a/b/c":                         "is not a label name",
		"/x":                            "is not a label name",
		"example.net/":                  "is not a label name",
	} {
		_, err := node.Load("node.yaml", []byte(withLabel(label)))
		if err == nil || !strings.Contains(err.Error(), `node.yaml:12: field "k3s.labels.`+label+`": `+want) {
			t.Errorf("%s: %v, want %s", label, err, want)
		}
	}
}

// TestTaints may have keys that are not allowed for labels: Kubernetes' own taints have them.
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
