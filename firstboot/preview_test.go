package firstboot_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestForesee: a member tells what a file of its owner would change, changes nothing, and
// knows the file when it works by it.
func TestForesee(t *testing.T) {
	again := []string{"secrets"} // those of the cluster, of which nobody here knows the old ones
	for name, c := range map[string]struct {
		from, to      string
		fields, steps []string
		refused       string
	}{
		"nothing":       {"site: home", "site: home", nil, again, ""},
		"another site":  {"site: home", "site: cabin", []string{"site"}, append([]string{"k3s"}, again...), ""},
		"another token": {"token: k3s-token-very-secret", "token: another-secret", []string{"k3s.token"}, append([]string{"k3s"}, again...), ""},
		"another zone":  {"timezone: Europe/Lisbon", "timezone: Etc/UTC", []string{"timezone"}, append([]string{"identity"}, again...), ""},
		"another file":  {"file-secret = 1", "file-secret = 2", []string{"files"}, append([]string{"identity"}, again...), ""},
		"no such zone":  {"timezone: Europe/Lisbon", "timezone: Europe/Nowhere", nil, nil, "bad-field"},
		"another role":  {"role: server", "role: agent", nil, nil, "role-conflict"},
		"another node":  {"node: home-pi", "node: cabin-pi", nil, nil, "offer-node"},
	} {
		t.Run(name, func(t *testing.T) {
			w := joinedWorld(t, owned(t, 1))
			text := owned(t, 1)
			if c.refused == "role-conflict" { // nor does an agent create clusters
				text = edit(t, text, creates, "init: false")
			}
			data := sign(t, edit(t, text, c.from, c.to), 1, noon.Add(time.Hour))
			before := maps.Clone(w.files)
			p, err := firstboot.Foresee(t.Context(), w.host(), []byte(data))
			var refused *firstboot.Problem
			switch {
			case c.refused != "":
				if !errors.As(err, &refused) || refused.Code != c.refused {
					t.Fatalf("%+v, %v; want %s", p, err, c.refused)
				}
				return
			case err != nil || p.InForce || !slices.Equal(p.Fields, c.fields) || !slices.Equal(p.Steps, c.steps):
				t.Fatalf("%+v, %v", p, err)
			case !maps.Equal(before, w.files):
				t.Error("something was changed")
			}
		})
	}
}

// TestForeseeInForce: what was handed over is in force when the node has taken it, and
// nothing is left to do when it has joined by it.
func TestForeseeInForce(t *testing.T) {
	w := lostWorld(t) // which takes what is handed over, and joins again
	data := sign(t, edit(t, edit(t, owned(t, 1), "hskey-auth-first", "hskey-auth-second"), "site: home", "site: cabin"), 1, noon)
	s, _, answer := w.offer(lost, data)
	if answer != nil || s.State != firstboot.Joined {
		t.Fatalf("%v; %s", answer, s.Line())
	}
	p, err := firstboot.Foresee(t.Context(), w.host(), []byte(data))
	if err != nil || !p.InForce || len(p.Steps) > 0 || len(p.Fields) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
}
