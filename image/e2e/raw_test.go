//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/lock"
)

// rockpro64 is a board of one's own as boards/README.md has it: Debian's U-Boot
// for Rockchip's processors, which their boot ROM finds outside of all partitions.
func rockpro64(t *testing.T) (dir string) {
	t.Helper()
	data, err := os.ReadFile("../../boards/generic-arm64.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const loaders = `disk:
  raw:
    - {file: usr/lib/u-boot/rockpro64-rk3399/idbloader.img, offset: 32KiB}
    - {file: usr/lib/u-boot/rockpro64-rk3399/u-boot.itb, offset: 8MiB}
`
	text := strings.NewReplacer("name: generic-arm64", "name: rockpro64", "packages:\n", "packages:\n  - u-boot-rockchip\n", "disk:\n", loaders).Replace(string(data))
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rockpro64.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestLoadersOutsideOfPartitions compares them with the package's own, byte by
// byte, and lets others judge the table around them.
func TestLoadersOutsideOfPartitions(t *testing.T) {
	img := buildOnce(t, "rockpro64", "--boards", rockpro64(t), "--board", "rockpro64")
	if out := run(t, "sgdisk", "-v", img); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	if start := openImage(t, img).Layout.Partitions[0].Start; start != 16<<20 {
		t.Errorf("the first partition begins at %d", start)
	}
	dir := unpackLocked(t, img, "u-boot-rockchip")
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, at := range map[string]int64{"idbloader.img": 32 << 10, "u-boot.itb": 8 << 20} {
		want, err := os.ReadFile(filepath.Join(dir, "usr/lib/u-boot/rockpro64-rk3399", name))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(io.NewSectionReader(f, at, int64(len(got))), got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not at %d: %v", name, at, err)
		}
	}
	if _, err := rootOf(t, img).Resolve("usr/lib/u-boot"); err == nil {
		t.Error("the root has loaders that a node never reads")
	}
}

// unpackLocked unpacks a package of an image's lock with the real dpkg-deb.
func unpackLocked(t *testing.T, img, name string) (dir string) {
	t.Helper()
	data, err := os.ReadFile(img + ".lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var l lock.Lock
	if err := json.Unmarshal(data, &l); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Packages {
		if p.Name == name {
			dir = t.TempDir()
			run(t, "dpkg-deb", "-x", filepath.Join(must(os.UserCacheDir()), "imagebuilder/sha256", p.SHA256[:2], p.SHA256), dir)
			return dir
		}
	}
	t.Fatalf("the lock has no %s", name)
	return ""
}
