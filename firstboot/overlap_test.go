package firstboot_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestNetworksOfTheCluster: a node refuses a LAN whose addresses are the cluster's, by k3s'
// defaults or by its own settings, and no other.
func TestNetworksOfTheCluster(t *testing.T) {
	const config = "  config: {"
	for _, c := range []struct{ lan, settings, want string }{
		{"192.168.1.20/24", "", ""},
		{"10.42.7.20/24", "", "10.42.7.0/24"},
		{"10.43.7.20/24", "", "10.43.7.0/24"},
		{"10.0.0.5/8", "", ""}, // the cluster's routes are narrower
		{"10.42.7.20/24", "cluster-cidr: 10.99.0.0/16, ", ""},
		{"10.99.7.20/24", "cluster-cidr: 10.99.0.0/16, ", "10.99.7.0/24"},
		{"10.98.7.20/24", `service-cidr: "fd00::/112,10.98.0.0/16", `, "10.98.7.0/24"},
		{"fe80::7/64", "cluster-cidr: [10.99.0.0/16, fd00:42::/56], ", ""},
		{"fd00:42::7/64", "cluster-cidr: [10.99.0.0/16, fd00:42::/56], ", "fd00:42::/64"},
	} {
		w := crashWorld(t)
		replace(config, config+c.settings)(w)
		onLAN("192.168.7.1/24", c.lan)(w)
		s, _ := w.boot(anyProblem)
		switch {
		case c.want == "" && s.State != firstboot.Joined:
			t.Errorf("%+v: %s", c, s.Line())
		case c.want != "" && (s.Problem == nil || s.Problem.Code != "lan-overlaps" || !strings.Contains(s.Problem.Summary, c.want)):
			t.Errorf("%+v: %s", c, s.Line())
		}
	}
}

// TestAMemberMovesIntoTheClustersNetwork: it is told before k3s is started, though the tailnet
// lets it in; an agent cannot know the servers' settings.
func TestAMemberMovesIntoTheClustersNetwork(t *testing.T) {
	w := crashWorld(t)
	w.running, w.haveKey = true, true
	onLAN("10.42.0.20/24")(w)
	if s, _ := w.boot(anyProblem); s.Problem == nil || s.Problem.Code != "lan-overlaps" || w.starts != 0 {
		t.Errorf("%s, k3s started %d times", s.Line(), w.starts)
	}
	agent := newWorld(t, strings.NewReplacer("role: server", "role: agent", creates, "", "  agentToken: k3s-agents-secret\n", "", "token:", "bootstrapToken:",
		"etcd-s3-secret-key: s3-secret, kube-apiserver-arg: [of-a-plugin=arg-secret], ", "", "longhorn: {disk: /dev/disk/by-id/usb-1}\n", "").Replace(initYAML))
	agent.peers, agent.alive[cabin] = peer, true
	onLAN("10.42.0.20/24")(agent)
	if s, _ := agent.boot(anyProblem); s.State != firstboot.Joined {
		t.Error(s.Line())
	}
}
