//go:build linux

package control

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

// TestAPolicyOfSomebody: a policy with anything in it that is not this fleet's stays until its
// owner says otherwise, Init does the rest of its work, and its text is kept at home.
func TestAPolicyOfSomebody(t *testing.T) {
	v := newVPS(t)
	if d, err := v.init(); err != nil || !d.Policy.InPlace || d.Policy.Kept != "" {
		t.Fatalf("a new server: %+v, %v", d, err)
	}
	ours := v.policy()
	if d, err := v.init(); err != nil || !d.Policy.InPlace || v.policy() != ours {
		t.Errorf("the second time: %+v, %v", d, err)
	}

	added := strings.Replace(ours, `"acls": [`, `"acls": [{"action":"accept","src":["fleet@"],"dst":["fleet@:8080"]},`, 1)
	v.setPolicy(added)
	d, err := v.init()
	if err != nil || d.Policy.InPlace || len(d.Policy.Lacks) > 0 || len(d.Policy.Lost) != 1 || !strings.Contains(d.Policy.Lost[0], "8080") || v.key == "" {
		t.Fatalf("a rule was added: %+v, %v", d, err)
	}
	if v.policy() != added || v.read("secrets/policy.before") != added {
		t.Error("the policy was not left, or not kept")
	}
	if fi, err := os.Stat(filepath.Join(v.dir, "secrets/policy.before")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("kept as %v, %v", fi, err)
	}
	if p, err := v.apply(true); err != nil || !p.InPlace || v.policy() != ours || v.read("secrets/policy.before") != added {
		t.Errorf("replaced: %+v, %v", p, err)
	}
}

// TestNoPolicyOfOthers: without a policy everybody reaches everybody, which the first one
// ends.
func TestNoPolicyOfOthers(t *testing.T) {
	v := newVPS(t)
	if _, err := v.init(); err != nil {
		t.Fatal(err)
	}
	v.setPolicy("{}")
	if _, err := v.hs.Client.CreateUser(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if p, err := v.apply(false); err != nil || p.InPlace || len(p.Lost) != 1 || !strings.Contains(p.Lost[0], "user alice") || v.policy() != "{}" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := v.apply(true); err != nil || !p.InPlace || v.policy() == "{}" {
		t.Errorf("replaced: %+v, %v", p, err)
	}
}

func (v *machine) apply(replace bool) (*Policy, error) {
	v.t.Helper()
	f, err := fleet.LoadFile(filepath.Join(v.dir, "fleet.yaml"), nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return SetPolicy(v.t.Context(), f, v.hs.Client, replace)
}

func (v *machine) policy() string {
	v.t.Helper()
	text, err := v.hs.Client.Policy(v.t.Context())
	if err != nil {
		v.t.Fatal(err)
	}
	return text
}

func (v *machine) setPolicy(text string) {
	v.t.Helper()
	if _, err := v.hs.Client.SetPolicy(v.t.Context(), text); err != nil {
		v.t.Fatal(err)
	}
}
