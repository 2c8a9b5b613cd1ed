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

// TestUnused: at a real Headscale the keys of one node end that were made until a time;
// one that is gone is no error.
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
	if none, err := Unused(ctx, f, s.Client, "cabin-pi", start.Add(-time.Hour)); err != nil || len(none) > 0 {
		t.Errorf("made later: %v, %v", none, err)
	}
	found, err := Unused(ctx, f, s.Client, "cabin-pi", start)
	if err != nil || len(found) != 1 || found[0].ID != stolen {
		t.Fatalf("%v, %v; want %s", found, err, stolen)
	}
	if err := ExpireAll(ctx, s.Client, append(found, headscale.Key{ID: "4711"})); err != nil {
		t.Error(err)
	}
	if got := valid(t, s); !slices.Equal(got, []headscale.ID{other}) {
		t.Errorf("valid are %v, want %v", got, other)
	}
	if again, err := Unused(ctx, f, s.Client, "cabin-pi", time.Now()); err != nil || len(again) > 0 {
		t.Errorf("%v, %v", again, err)
	}
}
