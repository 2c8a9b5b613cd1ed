package kmod

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestRequested: a driver that asks for its other half by name gets it, one of
// which nobody knows what it asks for is named, also where the answer was
// remembered.
func TestRequested(t *testing.T) {
	asks := []string{"__request_module"}
	tr := tree.New()
	for name, k := range map[string]ko{
		"brcmfmac":     {needs: asks},
		"brcmfmac-wcc": {modinfo: []string{"depends=brcmfmac"}},
		"brcmfmac-xyz": {modinfo: []string{"depends=brcmfmac"}},
		"newdriver":    {needs: asks},
		"other":        {needs: asks},
	} {
		p := "usr/lib/modules/" + testVersion + "/kernel/drivers/" + name + ".ko"
		if err := tr.MkdirAll(filepath.ToSlash(filepath.Dir(p)), testTime, "test"); err != nil {
			t.Fatal(err)
		}
		if err := tr.Add(&tree.Node{Path: p, Mode: 0o644, ModTime: testTime, Content: tree.Bytes(k.build())}); err != nil {
			t.Fatal(err)
		}
	}
	remembered := map[string][]byte{}
	remember := func(_ context.Context, kind, key string, compute func() ([]byte, error)) (b []byte, err error) {
		if _, ok := remembered[key]; !ok {
			remembered[key], err = compute()
		}
		return remembered[key], err
	}
	for range 2 {
		m, err := Select(t.Context(), tr, testVersion, []string{"brcmfmac", "newdriver"}, testTime, Options{Remember: remember})
		if err != nil {
			t.Fatal(err)
		}
		var kept []string
		for name := range m.files {
			kept = append(kept, name)
		}
		slices.Sort(kept)
		if d := cmp.Diff([]string{"brcmfmac", "brcmfmac_wcc", "newdriver"}, kept); d != "" {
			t.Errorf("kept (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"newdriver"}, m.Riddles()); d != "" {
			t.Errorf("riddles (-want +got):\n%s", d)
		}
	}
}
