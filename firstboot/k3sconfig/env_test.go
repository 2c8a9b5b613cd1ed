package k3sconfig_test

import (
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/k3sconfig"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// TestEnv: a role is read as it was written, below whatever comment.
func TestEnv(t *testing.T) {
	for role, first := range map[node.Role]string{node.Server: "K3S_ROLE=server\n", node.Witness: "K3S_ROLE=server\n", node.Agent: "K3S_ROLE=agent\n"} {
		env := k3sconfig.Env(role)
		if got := k3sconfig.Role("# a comment\n" + env); got != role || env[:len(first)] != first {
			t.Errorf("%s: %s from %q", role, got, env)
		}
	}
	if got := k3sconfig.Role(""); got != "" {
		t.Errorf("%q from nothing", got)
	}
}
