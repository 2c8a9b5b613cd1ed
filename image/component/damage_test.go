package component_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/fetch"
)

// built reads a component's files as a writer of images does, and starts again
// as a build does: what is damaged is dropped, each entry once.
func built(t *testing.T, c *fetch.Cache, name string, opt component.Options) map[string]string {
	t.Helper()
	for range 5 {
		r, err := resolve(t, c, name, "amd64", opt)
		files := map[string]string{}
		if err == nil {
			files, err = contents(r)
		}
		if err == nil {
			return files
		}
		damaged, ok := errors.AsType[*fetch.DamagedError](err)
		if !ok {
			t.Fatal(err)
		}
		if err := c.Drop(damaged.Kind, damaged.Key); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("dropped again and again, and still damaged")
	return nil
}

func contents(r *component.Resolved) (map[string]string, error) {
	files := map[string]string{}
	for _, n := range r.Nodes {
		if n.Content == nil {
			continue
		}
		f, err := n.Content.Open()
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		files[n.Path] = b.String()
	}
	return files, nil
}

// put replaces a file or, without data, flips a bit at its end.
func put(t *testing.T, name string, data []byte) {
	t.Helper()
	if data == nil {
		var err error
		if data, err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
		data[len(data)-1] ^= 1
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// cached lists the files of the cache below dir, without the small ones beside
// them.
func cached(t *testing.T, c *fetch.Cache, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(filepath.Join(c.Dir(), dir), func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Ext(name) != ".sum" {
			found = append(found, name)
		}
		return err
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("the cache has nothing in %s: %v", dir, err)
	}
	return found
}

// TestWhatIsCachedIsCheckedWheneverItIsUsed puts something else under the
// names of a component and of what was derived from it. None of it may get
// into an image, and nobody is asked to clean anything.
func TestWhatIsCachedIsCheckedWheneverItIsUsed(t *testing.T) {
	noise := make([]byte, 100_000) // an archive of it takes many reads
	rand.NewChaCha8([32]byte{}).Read(noise)
	good, evil := program(amd64, "the program that was pinned"+string(noise)), program(amd64, "another program, same size."+string(noise))
	archive, evilArchive := tgz(t, map[string][]byte{"dir/tailscaled": good, "dir/tailscale": good}), tgz(t, map[string][]byte{"dir/tailscaled": evil, "dir/tailscale": evil})
	u := serve(t, map[string][]byte{"/k3s": good, "/tailscale.tgz": archive})
	binary := component.Options{Overrides: map[string]string{"k3s": u.URL + "/k3s#sha256=" + sum(good)}}
	packed := component.Options{Overrides: map[string]string{"tailscale": u.URL + "/tailscale.tgz#sha256=" + sum(archive)}}
	module := component.Options{Mirror: u.URL + "/none", Go: fakeGo(t, "go1.24.1")}
	for _, c := range []struct {
		name, component string
		opt             component.Options
		hit             map[string][]byte // by directory of the cache
		forget          string            // a directory of the cache, so that it is derived again
	}{
		{"another program", "k3s", binary, map[string][]byte{"sha256": evil}, ""},
		{"no program", "k3s", binary, map[string][]byte{"sha256": bytes.Repeat([]byte("x"), len(good))}, ""},
		{"half a program", "k3s", binary, map[string][]byte{"sha256": good[:70]}, ""},
		{"nothing", "k3s", binary, map[string][]byte{"sha256": {}}, ""},
		{"another archive", "tailscale", packed, map[string][]byte{"sha256": evilArchive}, "derived"},
		{"a program for an archive", "tailscale", packed, map[string][]byte{"sha256": evil}, "derived"},
		{"half an archive", "tailscale", packed, map[string][]byte{"sha256": archive[:len(archive)/2]}, "derived"},
		{"another unpacked program", "tailscale", packed, map[string][]byte{"derived/component": evil}, ""},
		{"another archive and program", "tailscale", packed, map[string][]byte{"sha256": evilArchive, "derived/component": evil}, ""},
		{"another built program", "tailscale", module, map[string][]byte{"derived/component": nil}, ""},
		{"a bit of a program", "k3s", binary, map[string][]byte{"sha256": nil}, ""},
		{"a bit of an archive", "tailscale", packed, map[string][]byte{"sha256": nil}, "derived"},
		{"half a built program", "tailscale", module, map[string][]byte{"derived/component": good[:10]}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := cache(t)
			want := built(t, cache, c.component, c.opt)
			for dir, data := range c.hit {
				for _, name := range cached(t, cache, dir) {
					put(t, name, data)
				}
			}
			if c.forget != "" {
				if err := os.RemoveAll(filepath.Join(cache.Dir(), c.forget)); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(want, built(t, cache, c.component, c.opt)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}
