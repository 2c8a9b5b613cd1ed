package flash

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// TestBmapOnADirtyDevice is why the map is made from what was written, not
// from zeros: bmaptool leaves everything else as it was, here full of 0xa5.
func TestBmapOnADirtyDevice(t *testing.T) {
	l, err := disk.Arrange(disk.Layout{Scheme: contract.GPT, ID: disk.GUID("disk"), Partitions: []disk.Partition{
		{Size: 33 * mib, Type: contract.TypeESP, Name: "esp", UUID: disk.GUID("esp")}}}, disk.Align)
	if err != nil {
		t.Fatal(err)
	}
	img := filepath.Join(t.TempDir(), "image.img")
	f, err := os.Create(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rec := disk.NewRecorder(f)
	if err := disk.Write(rec, l); err != nil {
		t.Fatal(err)
	}
	if err := fat.Write(l.Partitions[0].Writer(rec), bootTree(t), fat.Options{Size: l.Partitions[0].Size, Label: "BOOT"}); err != nil {
		t.Fatal(err)
	}
	m, err := disk.Scan(t.Context(), f, rec.Extents(), progress.Discard.Start("", "", 0))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	m.WriteTo(&b)
	if err := os.WriteFile(img+".bmap", b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	mapped := int64(0)
	for _, r := range m.Ranges {
		mapped += (r.Last - r.First + 1) * disk.BlockSize
	}
	if mapped > mib {
		t.Errorf("%d bytes are mapped", mapped)
	}
	dev := loop(t, blank(t, l.Size, 0xa5))
	mustTool(t, "bmaptool", "copy", "--bmap", img+".bmap", img, dev)
	if out := mustTool(t, "sgdisk", "-v", dev); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	boot := loop(t, dev, "-o", "1M", "--sizelimit", "33M")
	if out := mustTool(t, "fsck.fat", "-n", "-v", boot); strings.Contains(out, "eclaim") {
		t.Errorf("fsck.fat: %s", out)
	}
	if out := mustTool(t, "mdir", "-b", "-i", boot, "::"); strings.Count(out, "\n") != 3 {
		t.Errorf("mdir: %q", out)
	}
}
