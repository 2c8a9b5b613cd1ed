package memo_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/going-mobile/imagebuilder/image/memo"
)

// dir is a cache of the plainest kind.
type dir string

func (d dir) Derive(_ context.Context, kind, key string, build func(io.Writer) error) (*os.File, error) {
	name := filepath.Join(string(d), kind+"-"+key)
	if _, err := os.Stat(name); err != nil {
		f, err := os.Create(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := build(f); err != nil {
			return nil, err
		}
	}
	return os.Open(name)
}

func (d dir) Drop(kind, key string) error { return os.Remove(filepath.Join(string(d), kind+"-"+key)) }

func TestComputedOnceUnlessDamaged(t *testing.T) {
	cache, calls := dir(t.TempDir()), 0
	get := func(want int) {
		t.Helper()
		b, err := memo.Bytes(t.Context(), cache, "kind", "key", func() ([]byte, error) { calls++; return []byte("result"), nil })
		if err != nil || string(b) != "result" || calls != want {
			t.Errorf("got %q, %v after %d calls, want %d", b, err, calls, want)
		}
	}
	get(1)
	get(1)
	file := filepath.Join(string(cache), "kind-key")
	for i, damage := range []string{"", "short", "a text that is longer than a digest of 32 bytes"} {
		if err := os.WriteFile(file, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		get(i + 2)
	}
	if b, err := memo.Bytes(t.Context(), nil, "kind", "key", func() ([]byte, error) { return []byte("fresh"), nil }); err != nil || string(b) != "fresh" {
		t.Errorf("without a cache: %q, %v", b, err)
	}
}
