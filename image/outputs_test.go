package image

import (
	"cmp"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
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

// TestNamesTogether: while one of the files cannot have its name, none gets its own; what
// fails nevertheless says which are new.
func TestNamesTogether(t *testing.T) {
	for _, late := range []bool{false, true} {
		if late && runtime.GOOS == "windows" { // where nobody removes an open file
			continue
		}
		dir := t.TempDir()
		names := []string{filepath.Join(dir, "x.img"), filepath.Join(dir, "x.img.lock.json")}
		var b batch
		defer b.close()
		for _, name := range names {
			if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := b.create(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write([]byte("new")); err != nil {
				t.Fatal(err)
			}
		}
		want := "x.img.lock.json is a directory"
		if late { // what nobody can see before
			want = "only " + names[0] + " is new, what else lies beside it is of an earlier build; build again: "
			if err := os.Remove(b[1].Name()); err != nil {
				t.Fatal(err)
			}
		} else if err := cmp.Or(os.Remove(names[1]), os.Mkdir(names[1], 0o700)); err != nil {
			t.Fatal(err)
		}
		if err := b.commit(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if text, err := os.ReadFile(names[0]); err != nil || (string(text) == "new") != late {
			t.Errorf("late %v: the image is %q, %v", late, text, err)
		}
	}
}
