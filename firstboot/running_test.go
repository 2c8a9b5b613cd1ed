//go:build linux

package firstboot_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/host"
)

// TestReadImage: the image that runs, and its age; what is no image of ours is an
// error.
func TestReadImage(t *testing.T) {
	root, made := t.TempDir(), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	files := host.New(root, nil).Files
	if _, err := firstboot.ReadImage(files); err == nil {
		t.Error("without os-release")
	}
	for name, text := range map[string]string{"os-release": "ID=debian\nIMAGE_ID=imagebuilder-rpi4\nIMAGE_VERSION=2026.3\n", "clock-epoch": ""} {
		name = filepath.Join(root, "usr/lib", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, made, made); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := firstboot.ReadImage(files); err != nil || r.Version != "2026.3" || r.Board != "rpi4" || !r.Made.Equal(made) {
		t.Errorf("%+v, %v", r, err)
	}
}
