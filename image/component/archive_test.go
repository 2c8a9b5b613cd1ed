package component_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/going-mobile/imagebuilder/image/component"
)

// images is an archive as "docker save" writes it.
func images(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "manifest.json", Size: 2, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("[]")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestAnArchiveIsCalledWhatItIs: k3s chooses the decompressor by the name that
// the builder gives, whatever the user's file is called.
func TestAnArchiveIsCalledWhatItIs(t *testing.T) {
	plain := images(t)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(plain)
	_ = z.Close()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"plain":              {plain, ".tar"},
		"plain.tar.zst":      {plain, ".tar"},
		"zipped.tar":         {zipped.Bytes(), ".tar.gz"},
		"airgap.tar.zst":     {e.EncodeAll(plain, nil), ".tar.zst"},
		"airgap.tbz":         {[]byte("BZh91AY&SY"), ".tar.bz2"},
		"airgap.lz4":         {[]byte("\x04\x22\x4d\x18\x64\x40\xa7"), ".tar.lz4"},
		"airgap.tar.xz":      {[]byte("\xfd7zXZ\x00\x00\x04"), ""},
		"a program":          {program(amd64, "no archive"), ""},
		"an error page.html": {[]byte("<html>404</html>"), ""},
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, c.content, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := component.Resolve(t.Context(), cache(t), "k3s-images", "amd64", component.Options{Overrides: map[string]string{"k3s-images": file}})
		if c.want == "" {
			if err == nil || !strings.Contains(err.Error(), "no archive of container images that k3s reads") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		want := "usr/lib/imagebuilder/images/k3s-airgap-images-" + sum(c.content)[:12] + c.want
		if len(r.Nodes) != 1 || r.Nodes[0].Path != want || r.Entry().Files[0].Name != filepath.Base(want) {
			t.Errorf("%s is called %+v and %+v, want %s", name, r.Nodes, r.Entry().Files, want)
		}
	}
}

// TestADeferredArchive has the name that its address ends in, with its digest.
func TestADeferredArchive(t *testing.T) {
	digest := "#sha256=" + strings.Repeat("ab", 32)
	for address, want := range map[string]string{"https://127.0.0.1:1/x/images.tar.gz": ".tar.gz", "https://127.0.0.1:1/x/images.tar": ".tar", "https://127.0.0.1:1/x/images": ".tar.zst"} {
		r, err := component.Resolve(t.Context(), cache(t), "k3s-images", "amd64", component.Options{Overrides: map[string]string{"k3s-images": address + digest}})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Nodes[0]; !r.Deferred || got.Path != "usr/lib/imagebuilder/images/k3s-airgap-images-abababababab"+want || got.Link != "/var/lib/imagebuilder/components/k3s-images/k3s-airgap-images-abababababab"+want {
			t.Errorf("%s: %s → %s", address, got.Path, got.Link)
		}
	}
}
