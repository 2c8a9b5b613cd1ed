package fleet

import (
	"encoding/json"
	"strings"
	"testing"
)

const shedYAML = `version: 1
cluster: {name: shed, headscale: {url: https://hs.example.net}, k3s: {token: {env: T}}}
sites: {home: {}, cabin: {}}
nodes: {home-pi: {board: rpi4, site: home, role: server}}
`

// TestComparePolicy: nothing is lost with an earlier policy of this fleet; something is with
// another fleet's, or with what somebody added.
func TestComparePolicy(t *testing.T) {
	f := load(t, shedYAML)
	text, err := f.Policy()
	if err != nil {
		t.Fatal(err)
	}
	ours := string(text)
	images := policyOf(t, strings.Replace(shedYAML, "k3s: {", "k3s: {shareImages: true, ", 1))
	for name, c := range map[string]struct {
		present string
		same    bool
		lost    string // part of the first line; "" for none
		lacks   bool
	}{
		"none":             {present: "", lacks: true},
		"none in it":       {present: "{}\n", lacks: true},
		"the same":         {present: ours, same: true},
		"another format":   {present: compact(t, ours), same: true},
		"one site less":    {present: policyOf(t, strings.Replace(shedYAML, ", cabin: {}", "", 1)), lacks: true},
		"images shared":    {present: images},
		"before control":   {present: compact(t, strings.Replace(strings.ReplaceAll(strings.ReplaceAll(ours, ",\n        \"tag:k3s-control:22,80,443,6443\"", ""), ",\n        \"tag:k3s-control:*\"", ""), ",\n        \"tag:k3s-control\"\n", "\n", 1)), lacks: true},
		"one site more":    {present: policyOf(t, strings.Replace(shedYAML, "cabin: {}", "cabin: {}, shop: {}", 1)), lost: "tag:site-shop"},
		"another user":     {present: policyOf(t, strings.Replace(shedYAML, "headscale: {", "headscale: {user: boat, ", 1)), lost: "boat@", lacks: true},
		"a group":          {present: strings.Replace(ours, "{", `{"groups":{"group:kin":["alice@"]},`, 1), lost: "group:kin"},
		"a rule":           {present: strings.Replace(ours, `"acls": [`, `"acls": [{"action":"accept","src":["alice@"],"dst":["alice@:*"]},`, 1), lost: "alice@"},
		"an owner of tags": {present: strings.Replace(ours, `"fleet@"`, `"fleet@", "alice@"`, 1), lost: "alice@", lacks: true},
		"a comment":        {present: "// by alice\n" + ours, lost: "// by alice"},
	} {
		d, err := f.ComparePolicy(c.present)
		if err != nil {
			t.Fatal(err)
		}
		if d.Same != c.same || (len(d.Lacks) > 0) != c.lacks || (c.lost == "") != (len(d.Lost) == 0) || c.lost != "" && !strings.Contains(d.Lost[0], c.lost) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func policyOf(t *testing.T, text string) string {
	t.Helper()
	p, err := load(t, text).Policy()
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
