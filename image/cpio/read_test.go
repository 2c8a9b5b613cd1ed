package cpio

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestReadGNU reads what cpio itself writes, hard links included, also
// compressed in every way.
func TestReadGNU(t *testing.T) {
	root := t.TempDir()
	for p, data := range map[string]string{"a": "same", "c/d": "other", "empty": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, p), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(root, "a"), filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	plain := []byte(run(t, []byte(".\na\nb\nc\nc/d\nempty\n"), "cpio", "-o", "-H", "newc", "--quiet", "-D", root))
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(plain)
	w.Close()
	for name, b := range map[string][]byte{
		"plain": plain,
		"gzip":  gz.Bytes(),
		"xz":    []byte(run(t, plain, "xz", "-c", "--check=crc32")),
		"zstd":  []byte(run(t, plain, "zstd", "-c", "-19")),
	} {
		tr, err := Read(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for p, want := range map[string]string{"a": "same", "b": "same", "c/d": "other", "empty": ""} {
			if got, err := tr.ReadAll(p); err != nil || string(got) != want {
				t.Errorf("%s: /%s is %q, %v", name, p, got, err)
			}
		}
		if fileOf(tr.Get("b")) != "a" {
			t.Errorf("%s: the hard link is lost", name)
		}
	}
}

// TestLaterWins checks that a later archive replaces files of an earlier one
// without changing their other names.
func TestLaterWins(t *testing.T) {
	one := makeTree(t, file("a", "old"), &tree.Node{Path: "b", Mode: 0o644, Link: "a"})
	two := makeTree(t, file("a", "new"))
	tr, err := Read(append(pack(t, one), pack(t, two)...))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := tr.ReadAll("a")
	b, _ := tr.ReadAll("b")
	if string(a) != "new" || string(b) != "old" {
		t.Errorf("a is %q, b is %q", a, b)
	}
}

func TestReadRefuses(t *testing.T) {
	good := pack(t, fullTree(t))
	for n := range bytes.LastIndex(good, []byte(trailer)) {
		if _, err := Read(good[:n]); err == nil && n > 0 {
			t.Fatalf("cut at %d: no error", n)
		}
	}
	for name, r := range map[string]string{
		"parent":     "../etc/passwd",
		"inside":     "a/../b",
		"no parent":  "no/such/directory",
		"not UTF-8":  "\xff",
		"root":       ".",
		"empty name": "",
	} {
		var b bytes.Buffer
		w := &writer{w: &b}
		if err := w.header(entry{mode: typeRegular | 0o644, links: 1}, r); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(b.Bytes()); err == nil || strings.Contains(err.Error(), "EOF") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := Read([]byte("BZh9")); err == nil {
		t.Error("bzip2 accepted")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(pack(f, fullTree(f)))
	f.Add(pack(f, makeTree(f, file("a", "x"), &tree.Node{Path: "b", Mode: 0o644, Link: "a"})))
	var z bytes.Buffer
	if err := WriteZstd(&z, makeTree(f, file("a", "x"))); err != nil {
		f.Fatal(err)
	}
	f.Add(z.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := Read(b)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := Write(&again, tr); err != nil {
			if strings.Contains(err.Error(), "without content") {
				t.Error(err)
			}
			return
		}
		back, err := Read(again.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(listing(tr), listing(back)); d != "" {
			t.Errorf("(-read +written):\n%s", d)
		}
	})
}
