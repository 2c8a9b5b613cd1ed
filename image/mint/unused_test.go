//go:build linux

package mint

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// TestUnused: at a real Headscale the keys of one node up to a time can be expired, also one
// that is missing in the book. A key that is gone is no error.
func TestUnused(t *testing.T) {
	s, f, ctx := headscaletest.Start(t), example(t), context.Background()
	m := open(t, f, s)
	start := time.Now()
	key := func(name string, at time.Time) headscale.ID {
		k, err := m.Hand(ctx, name, at, func(*Key) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return k.made.ID
	}
	stolen, other := key("cabin-pi", start), key("home-box", start)
	lost, err := s.Client.CreateKey(ctx, headscale.KeyRequest{Tags: []string{"tag:site-cabin", "tag:k3s-server"}, Expires: start.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if none, unknown, later, err := Unused(ctx, f, s.Client, "cabin-pi", start.Add(-time.Hour)); err != nil || len(none)+len(unknown) > 0 || len(later) != 1 || later[0].ID != stolen {
		t.Errorf("made later: %v, %v, %v, %v", none, unknown, later, err)
	}
	found, unknown, _, err := Unused(ctx, f, s.Client, "cabin-pi", time.Now().Add(time.Second))
	if err != nil || len(found) != 1 || found[0].ID != stolen || len(unknown) != 1 || unknown[0].ID != lost.ID {
		t.Fatalf("%v, %v, %v; want %s, %s", found, unknown, err, stolen, lost.ID)
	}
	if err := ExpireAll(ctx, s.Client, append(found, lost, headscale.Key{ID: "4711"})); err != nil {
		t.Error(err)
	}
	if got := valid(t, s); !slices.Equal(got, []headscale.ID{other}) {
		t.Errorf("valid are %v, want %v", got, other)
	}
	if again, unknown, _, err := Unused(ctx, f, s.Client, "cabin-pi", time.Now()); err != nil || len(again)+len(unknown) > 0 {
		t.Errorf("%v, %v, %v", again, unknown, err)
	}
}
