package component

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestASlowLineIsNoReasonToDefer: to find a host and to connect may take ten seconds. Where
// another source is up, nobody waits as long.
func TestASlowLineIsNoReasonToDefer(t *testing.T) {
	for name, tc := range map[string]struct {
		takes []time.Duration // of each source
		up    []string
		after time.Duration
	}{
		"a slow one":             {[]time.Duration{10 * time.Second}, []string{"a"}, 10 * time.Second},
		"a dead one":             {[]time.Duration{time.Hour}, nil, 15 * time.Second},
		"a mirror, no upstream":  {[]time.Duration{time.Second, time.Hour}, []string{"a"}, 3500 * time.Millisecond},
		"no mirror, slow source": {[]time.Duration{time.Hour, 12 * time.Second}, []string{"b"}, 14500 * time.Millisecond},
		"both":                   {[]time.Duration{time.Second, 0}, []string{"a", "b"}, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			takes := map[string]time.Duration{}
			urls := []string{"a", "b"}[:len(tc.takes)]
			for i, d := range tc.takes {
				takes[urls[i]] = d
			}
			began := time.Now()
			up, why := reachable(t.Context(), urls, func(ctx context.Context, u string) error {
				select {
				case <-time.After(takes[u]):
					return nil
				case <-ctx.Done():
					return errors.New("no answer")
				}
			})
			if diff := cmp.Diff(tc.up, up); diff != "" || (why == "") != (len(up) == len(urls)) {
				t.Errorf("%s: up (-want +got):\n%s\nwhy %q", name, diff, why)
			}
			if took := time.Since(began); took != tc.after {
				t.Errorf("%s: took %v, want %v", name, took, tc.after)
			}
		})
	}
}
