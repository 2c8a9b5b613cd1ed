package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/revoke"
)

// TestHeadscaleInitSays how the owner's computer gets in, and what became of the policy.
func TestHeadscaleInitSays(t *testing.T) {
	f := &fleet.Fleet{Cluster: fleet.Cluster{Headscale: fleet.Headscale{URL: "https://hs.example.net", User: "boat"}}}
	d := &control.Done{Node: "vps", Again: &revoke.Found{}}
	for _, c := range []struct {
		policy      *control.Policy
		out, errors []string
	}{
		{&control.Policy{InPlace: true}, []string{
			"user boat and the fleet's policy are in place at https://hs.example.net\nvps has a key",
			"a device of user boat: tailscale up --login-server https://hs.example.net\n",
			"to run on vps (by ssh as root) with boat for USERNAME\n",
		}, nil},
		{&control.Policy{Lost: []string{"groups: kin"}, Lacks: []string{"acls: api"}, Kept: "secrets/policy.before"}, []string{
			"user boat is in place at https://hs.example.net, whose policy was left as it is\n",
		}, []string{"would take away:\n  groups: kin\n", "the fleet needs:\n  acls: api\n", "add that to secrets/policy.before", "policy --apply --replace\n"}},
		{&control.Policy{Lost: []string{"all traffic of the devices of user alice"}, Lacks: []string{"acls: api"}}, nil, []string{
			"would take away:\n  all traffic of the devices of user alice\n", "without a policy the fleet works", `{"action": "accept", "src": ["NAME@"], "dst": ["NAME@:*"]}`, "headscale policy set --file FILE\n", "policy --apply --replace\n",
		}},
	} {
		var out, errors bytes.Buffer
		cmd := &cobra.Command{}
		cmd.SetOut(&out)
		cmd.SetErr(&errors)
		d.Policy = c.policy
		if err := printHeadscaleInit(cmd, f, d); err != nil {
			t.Fatal(err)
		}
		for _, w := range c.out {
			if !strings.Contains(out.String(), w) {
				t.Errorf("no %q in:\n%s", w, out.String())
			}
		}
		for _, w := range c.errors {
			if !strings.Contains(errors.String(), w) {
				t.Errorf("no %q in:\n%s", w, errors.String())
			}
		}
		if len(c.errors) == 0 && errors.Len() > 0 {
			t.Errorf("%s", errors.String())
		}
	}
}
