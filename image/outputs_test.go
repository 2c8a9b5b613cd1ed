package image

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestStale: what an earlier build with other options left beside the image is named, the
// digest that vouches for it with it.
func TestStale(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.img")
	for _, suffix := range []string{".zst", ".zst.sha256", ".qcow2.sha256", ".spdx.json", ".lock.json", ".note"} {
		if err := os.WriteFile(out+suffix, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stale := func(opt Options) []string {
		opt.Out = out
		list := (&plan{opt: opt}).stale()
		slices.Sort(list)
		for i, name := range list {
			list[i] = name[len(out):]
		}
		return list
	}
	if got := stale(Options{}); !slices.Equal(got, []string{".qcow2.sha256", ".spdx.json", ".zst", ".zst.sha256"}) {
		t.Errorf("%q", got)
	}
	if got := stale(Options{Compress: "zst", SBOM: true}); !slices.Equal(got, []string{".qcow2.sha256"}) {
		t.Errorf("%q", got)
	}
}
