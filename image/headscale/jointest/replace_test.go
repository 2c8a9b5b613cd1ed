//go:build linux

package jointest

import (
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
	"github.com/going-mobile/imagebuilder/image/mint"
	"github.com/going-mobile/imagebuilder/image/replace"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// TestReplace lets a machine join with a fleet's key, die, and another one take
// its name.
func TestReplace(t *testing.T) {
	t.Parallel()
	replaces(t, headscaletest.Start(t))
}

func replaces(t *testing.T, s *headscaletest.Server) {
	ctx, tailscaled := t.Context(), program(t)
	f := s.NewFleet()
	m, err := mint.Open(f, s.Client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	const name = "cabin-box"
	join := func() *machine {
		t.Helper()
		key, err := m.Hand(ctx, name, time.Now(), func(*mint.Key) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		a := newMachine(t, name, s, key.Text)
		a.start(tailscaled)
		a.want("")
		return a
	}
	old := join()
	first := row(t, f, s, name)
	if first.State != roster.Online || len(first.Notes) > 0 || first.Joined.IsZero() {
		t.Errorf("joined: %+v", first)
	}
	o := replace.Options{ByHand: true} // there is no cluster
	if _, err := replace.Prepare(ctx, f, s.Client, name, o); err == nil || !strings.Contains(err.Error(), "is online") {
		t.Errorf("while it lives: %v", err)
	}
	old.kill()
	o.EvenIfOnline = true // Headscale takes its time
	leave, err := replace.Prepare(ctx, f, s.Client, name, o)
	if err != nil || len(leave.Steps()) != 1 {
		t.Fatalf("%v, %v", leave, err)
	}
	if err := leave.Do(ctx); err != nil {
		t.Fatal(err)
	}
	if got := row(t, f, s, name); got.State == roster.Online || got.State == roster.Offline {
		t.Errorf("forgotten: %+v", got)
	}
	join()
	second := row(t, f, s, name)
	if second.State != roster.Online || len(second.Notes) > 0 || second.Number == first.Number || len(nodes(t, s)) != 1 {
		t.Errorf("in its place: %+v of %d", second, len(nodes(t, s)))
	}
}

func row(t *testing.T, f *fleet.Fleet, s *headscaletest.Server, name string) roster.Row {
	t.Helper()
	rows, err := roster.Read(t.Context(), f, s.Client, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Node == name {
			return r
		}
	}
	t.Fatalf("no %s in %+v", name, rows)
	return roster.Row{}
}
