package node_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// packed packs a text as node.yaml packs claims.
func packed(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

// TestClaimsAreSmall: five hundred claims, with Longhorn's names for backups, take less than half
// of node.yaml, and come back as they were. The form of older files is read too.
func TestClaimsAreSmall(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	all := node.Claims{"ide/empty": ""}
	for i := range 500 {
		all[fmt.Sprintf("team-%d/data-%d-postgresql-%d", i%40, r.IntN(1000), i)] = fmt.Sprintf("backup-%016x", r.Uint64())
	}
	text, err := yaml.Marshal(node.Restore{SystemBackup: "weekly", Claims: all})
	if err != nil || len(text) > node.ReservedSize/2 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	plain, err := yaml.Marshal(map[string]any{"systemBackup": "weekly", "claims": map[string]string(all)})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{text, plain} {
		var back node.Restore
		if err := yaml.Unmarshal(text, &back); err != nil || !maps.Equal(back.Claims, all) {
			t.Errorf("%d claims, %v", len(back.Claims), err)
		}
	}
}

// TestClaimsThatAreNone: a file may come from anybody, and may unpack to any size.
func TestClaimsThatAreNone(t *testing.T) {
	const want = `field "k3s.seed.restore.claims`
	whole := packed(t, "a/b c\n")
	for name, claims := range map[string]string{
		"no text":            "[a, b]",
		"no base64":          `"*"`,
		"nothing packed":     "YWJj",
		"cut short":          whole[:len(whole)-8],
		"no claim":           packed(t, "a c\n"),
		"an empty line":      packed(t, "\n"),
		"larger than it may": packed(t, strings.Repeat("a/b c\n", 1<<20)),
	} {
		text := strings.Replace(full, "init: true", "init: true\n  seed: {restore: {systemBackup: a, claims: "+claims+"}}", 1)
		if _, err := node.Load("node.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
