package headscale

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// TestAPIKeyEnds: each version shows a different beginning of its keys, and other keys are
// not taken for ours.
func TestAPIKeyEnds(t *testing.T) {
	end := time.Date(2027, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		key   secret.String
		shown string
		want  time.Time
	}{
		{"abcdefg.0123456789", "abcdefg", end},    // 0.26, 0.27
		{"abcdefg.0123456789", "abcdefg***", end}, // an old key at 0.28
		{"hskey-api-abcdefghijkl-0123456789", "hskey-api-abcdefghijkl-***", end},
		{"hskey-api-abcdefghij-l-0123456789", "hskey-api-abcdefghij-l-***", end},
		{"hskey-api-abcdefghijkl-0123456789", "hskey-api-abcdefghijkx-***", time.Time{}},
		{"abcdefgh.0123456789", "abcdefg", time.Time{}},
		{"abcdefg.0123456789", "", time.Time{}},
		{"abcdefg.0123456789", "***", time.Time{}},
	} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != "/api/v1/apikey" {
				w.WriteHeader(http.StatusNotFound)
			}
			fmt.Fprintf(w, `{"apiKeys":[{"id":"1","prefix":"other","expiration":"2030-01-01T00:00:00Z"},{"id":"2","prefix":%q,"expiration":%q}]}`, c.shown, end.Format(time.RFC3339))
		}))
		client, err := New(web.URL, c.key, "")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := client.APIKeyEnds(t.Context()); err != nil || !got.Equal(c.want) {
			t.Errorf("%s: %v, %v; want %v", c.shown, got, err, c.want)
		}
		web.Close()
	}
}
