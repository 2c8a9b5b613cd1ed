package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/progress"
)

func TestScanFindsWhatWasWritten(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 3*mib + 1000
	f.Truncate(size)
	r := NewRecorder(f)
	for _, w := range []struct {
		off  int64
		data string
	}{{0, "start"}, {5000, strings.Repeat("x", 10000)}, {15000, "y"}, {2 * mib, string(make([]byte, 8192))}, {size - 1, "z"}, {9000, "over"}} {
		if _, err := r.WriteAt([]byte(w.data), w.off); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(r.Extents(), []Extent{{0, 5}, {5000, 10001}, {2 * mib, 8192}, {size - 1, 1}}); d != "" {
		t.Error(d)
	}
	for _, tt := range []struct {
		mapped []Extent
		want   string
	}{{r.Extents(), "0-3 512-513 768-768 "}, {nil, "0-3 768-768 "}, {[]Extent{}, ""}, {[]Extent{{0, size}}, "0-768 "}} {
		m, err := Scan(context.Background(), f, size, tt.mapped, progress.Discard)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, r := range m.Ranges {
			got += fmt.Sprintf("%d-%d ", r.First, r.Last)
		}
		if got != tt.want {
			t.Errorf("%v: ranges %s, want %s", tt.mapped, got, tt.want)
		}
		h := sha256.New()
		io.Copy(h, io.NewSectionReader(f, 0, size))
		if m.SHA256 != hex.EncodeToString(h.Sum(nil)) {
			t.Error("digest differs")
		}
	}
}

// TestBmaptoolCopies lets bmaptool check all digests and write the mapped
// blocks over garbage.
func TestBmaptoolCopies(t *testing.T) {
	dir := t.TempDir()
	img, out := filepath.Join(dir, "disk.img"), filepath.Join(dir, "out.img")
	l := uefiLayout(t)
	f, err := os.Create(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Truncate(l.Size)
	rec := NewRecorder(f)
	if err := Write(rec, l); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Partitions[1].Writer(rec).WriteAt(bytes.Repeat([]byte("root"), 10000), 0); err != nil {
		t.Fatal(err)
	}
	m, err := Scan(context.Background(), f, l.Size, rec.Extents(), progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(img+".bmap", b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	mustTool(t, "bmaptool", "copy", "--bmap", img+".bmap", img, out)
	if got, err := readBack(t, out); err != nil || !cmp.Equal(got, l) {
		t.Errorf("%v %s", err, cmp.Diff(got, l))
	}
	mustTool(t, "cmp", img, out)
	damaged := bytes.Replace(b.Bytes(), []byte("<Range chksum=\""), []byte("<Range chksum=\"f"), 1)
	os.WriteFile(img+".bmap", damaged, 0o644)
	if err := exec.Command("bmaptool", "copy", "--bmap", img+".bmap", img, out).Run(); err == nil {
		t.Error("bmaptool takes a damaged map: it judges nothing")
	}
}

func TestScanStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Scan(ctx, bytes.NewReader(make([]byte, 10)), 10, nil, progress.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := Scan(context.Background(), bytes.NewReader(make([]byte, 10)), 11, nil, progress.Discard); err == nil {
		t.Error("a truncated image has a digest")
	}
}
