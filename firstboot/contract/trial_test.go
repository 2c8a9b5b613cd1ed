package contract_test

import (
	"path"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// TestParseTrial: what was written is read, and what would put the attic into itself,
// or reach beyond /var, is not.
func TestParseTrial(t *testing.T) {
	good := contract.Trial{Slot: "b", Keep: []string{"/" + contract.EtcUpper, "/var/lib/headscale"}, Failed: []string{"a.service"}, Reached: true}
	text, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := contract.ParseTrial(text)
	if err != nil || got.Slot != "b" || len(got.Keep) != 2 || got.Failed[0] != "a.service" || !got.Reached {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := contract.ParseTrial([]byte(strings.Replace(string(text), "{", `{"later": 1,`, 1))); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		``, `{}`, `{"slot": "c", "keep": ["/var/lib/x"]}`, `{"slot": "a"}`,
		`{"slot": "a", "keep": ["/etc"]}`, `{"slot": "a", "keep": ["/var/../etc"]}`, `{"slot": "a", "keep": ["/var"]}`,
		`{"slot": "a", "keep": ["/var/lib"]}`, `{"slot": "a", "keep": ["/` + contract.TrialDir + `"]}`, `{"slot": "a", "keep": ["/` + contract.AtticDir + `"]}`,
		`{"slot": "a", "keep": ["/var/lib/x"], "locked": ["/etc"]}`, `{"slot": "a", "keep": ["/var/lib/x"], "locked": ["/` + path.Dir(contract.LockedAtticDir) + `"]}`,
	} {
		if _, err := contract.ParseTrial([]byte(bad)); err == nil || !strings.Contains(err.Error(), contract.TrialFile) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
