package control

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
)

// TestAnOlderHeadscaleLacksNothing that it could have: one before 0.29 takes no node
// attributes, and has no request to check a policy.
func TestAnOlderHeadscaleLacksNothing(t *testing.T) {
	f, err := fleet.Load(filepath.Join(t.TempDir(), fleet.FileName), []byte(strings.Replace(withoutMachine, "PORT", "443", 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := f.Policy()
	if err != nil {
		t.Fatal(err)
	}
	var present map[string]any
	if err := json.Unmarshal(ours, &present); err != nil {
		t.Fatal(err)
	}
	delete(present, "nodeAttrs")
	present["groups"] = map[string][]string{"group:kin": {"alice@"}}
	text, err := json.Marshal(present)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/api/v1/policy" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"policy": string(text)})
	}))
	t.Cleanup(web.Close)
	client, err := headscale.New(web.URL, "key", "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := SetPolicy(t.Context(), f, client, false)
	if err != nil || p.InPlace || len(p.Lacks) > 0 || len(p.Lost) != 1 || !strings.Contains(p.Lost[0], "group:kin") {
		t.Errorf("%+v, %v", p, err)
	}
}
