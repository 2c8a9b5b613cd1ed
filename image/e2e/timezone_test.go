//go:build e2e

package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/timezone"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestTimeZonesAreThoseOfImages: what is accepted at home a node has, and what it has is
// not refused.
func TestTimeZonesAreThoseOfImages(t *testing.T) {
	eachBoard(t, func(t *testing.T, _, img string) {
		have := zonesOf(t, rootOf(t, img))
		accepted, err := os.ReadFile("../timezone/names.txt")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(string(accepted)) {
			if !slices.Contains(have, name) {
				t.Errorf("%s is accepted, and no zone of the image", name)
			}
		}
		for _, name := range have {
			if err := timezone.Check(name); err != nil {
				t.Errorf("%s is a zone of the image: %v", name, err)
			}
		}
		if len(have) < 300 {
			t.Errorf("only %d zones are in the image", len(have))
		}
	})
}

// zonesOf are the names in an image, but for what no place is called by: a system's own
// zone, and the one that stands for none.
func zonesOf(t *testing.T, root *tree.Tree) (all []string) {
	t.Helper()
	for n := range root.Walk() {
		name, below := strings.CutPrefix(n.Path, "usr/share/zoneinfo/")
		if below && name != "localtime" && name != "posixrules" && name != "Factory" && isZone(t, root, n.Path) {
			all = append(all, name)
		}
	}
	return all
}

// isZone follows links, as many names are, and wants the magic of RFC 9636.
func isZone(t *testing.T, root *tree.Tree, p string) bool {
	t.Helper()
	n, err := root.Resolve(p)
	if err != nil {
		t.Fatal(err)
	}
	if n == nil || !n.Mode.IsRegular() {
		return false
	}
	data, err := root.ReadAll(n.Path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.HasPrefix(string(data), "TZif")
}
