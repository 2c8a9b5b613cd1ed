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
	"testing/iotest"

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
	}{{r.Extents(), "0-3 512-513 768-768 "}, {nil, ""}, {[]Extent{{0, size}}, "0-768 "}} {
		m, err := Scan(t.Context(), io.NewSectionReader(f, 0, size), tt.mapped, progress.Discard.Start("", "", 0))
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
	m, err := Scan(t.Context(), io.NewSectionReader(f, 0, l.Size), rec.Extents(), progress.Discard.Start("", "", 0))
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
	task := progress.Discard.Start("", "", 0)
	if _, err := Scan(ctx, bytes.NewReader(make([]byte, 10)), nil, task); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := Scan(t.Context(), io.MultiReader(strings.NewReader("begin"), iotest.ErrReader(os.ErrClosed)), nil, task); !errors.Is(err, os.ErrClosed) {
		t.Error("an image that cannot be read has a digest:", err)
	}
}

// TestMapsAreReadAsTheyWereWritten takes our own map and bmaptool's.
func TestMapsAreReadAsTheyWereWritten(t *testing.T) {
	want := &Map{Size: 3*BlockSize + 1, Ranges: []Range{{0, 0, strings.Repeat("a", 64)}, {2, 3, strings.Repeat("b", 64)}}}
	var b bytes.Buffer
	want.WriteTo(&b)
	if got, err := ParseMap("x", b.Bytes()); err != nil || !cmp.Equal(got, want) {
		t.Error(err, cmp.Diff(want, got))
	}
	img := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(img, bytes.Repeat([]byte("image"), BlockSize), 0o644); err != nil {
		t.Fatal(err)
	}
	os.Truncate(img, mib)
	mustTool(t, "bmaptool", "create", "-o", img+".bmap", img)
	data, err := os.ReadFile(img + ".bmap")
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseMap("x", data)
	if err != nil {
		t.Fatal(err)
	}
	for damage, want := range map[string]bool{"": false, "damage": true} {
		raw, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		copy(raw[5000:], damage)
		got, err := Scan(t.Context(), bytes.NewReader(raw), m.Extents(), progress.Discard.Start("", "", 0))
		if err != nil || got.Size != m.Size || (m.Differs(got) != nil) != want {
			t.Errorf("%q: %+v, %v", damage, m.Differs(got), err)
		}
	}
}

func TestDamagedMapsAreRefused(t *testing.T) {
	m := &Map{Size: 9 * BlockSize, Ranges: []Range{{0, 1, strings.Repeat("a", 64)}, {3, 4, strings.Repeat("b", 64)}}}
	edit := func(old, new string) []byte {
		text := m.text(strings.Repeat("0", 64))
		if !strings.Contains(text, old) {
			t.Fatalf("no %q to replace", old)
		}
		text = strings.Replace(text, old, new, 1)
		return []byte(strings.Replace(text, strings.Repeat("0", 64), mapSum([]byte(text), strings.Repeat("0", 64)), 1))
	}
	for want, data := range map[string][]byte{
		"is no block map":           []byte("hello"),
		`of version "1.4"`:          edit(`"2.0"`, `"1.4"`),
		`reads 2.0 with sha256`:     edit("> sha256 <", "> sha1 <"),
		"blocks of 4096 bytes":      edit("> 4096 <", "> 512 <"),
		"its own checksum is wrong": bytes.Replace(edit("a", "a"), []byte(" 0-1 "), []byte(" 0-2 "), 1),
		`" 3-2 "`:                   edit(" 3-4 ", " 3-2 "),
		`" 2-4 "`:                   edit(" 3-4 ", " 2-4 "),
		`" 3-9 "`:                   edit(" 3-4 ", " 3-9 "),
		`is no run of blocks`:       edit(" 0-1 ", " -1-1 "),
	} {
		if _, err := ParseMap("x", data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func FuzzParseMap(f *testing.F) {
	m := &Map{Size: 9 * BlockSize, Ranges: []Range{{0, 1, strings.Repeat("a", 64)}}}
	f.Add(m.text(strings.Repeat("0", 64)))
	f.Fuzz(func(t *testing.T, text string) {
		// A fuzzer does not find checksums.
		text = strings.Replace(text, strings.Repeat("0", 64), mapSum([]byte(text), strings.Repeat("0", 64)), 1)
		m, err := ParseMap("x", []byte(text))
		if err != nil {
			return
		}
		for _, e := range m.Extents() {
			if e.Offset < 0 || e.Length <= 0 || e.Offset >= m.Size {
				t.Errorf("%+v of %d bytes", e, m.Size)
			}
		}
	})
}
