package flash

import (
	"os"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/disk"
)

// TestBmapOnADirtyDevice is why the map is made from what was written, not
// from zeros: bmaptool leaves everything else as it was, here full of 0xa5.
func TestBmapOnADirtyDevice(t *testing.T) {
	img := testImage(t, contract.GPT, true)
	data, err := os.ReadFile(img + disk.MapSuffix)
	if err != nil {
		t.Fatal(err)
	}
	m, err := disk.ParseMap(img, data)
	if err != nil {
		t.Fatal(err)
	}
	if m.MappedBytes() > mib {
		t.Errorf("%d bytes are mapped", m.MappedBytes())
	}
	dev := loop(t, blank(t, m.Size, 0xa5))
	mustTool(t, "bmaptool", "copy", "--bmap", img+".bmap", img, dev)
	if out := mustTool(t, "sgdisk", "-v", dev); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	boot := loop(t, dev, "-o", "1M", "--sizelimit", "33M")
	if out := mustTool(t, "fsck.fat", "-n", "-v", boot); strings.Contains(out, "eclaim") {
		t.Errorf("fsck.fat: %s", out)
	}
	if out := mustTool(t, "mdir", "-b", "-i", boot, "::"); strings.Count(out, "\n") != 8 {
		t.Errorf("mdir: %q", out)
	}
}
