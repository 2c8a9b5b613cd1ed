//go:build e2e

package e2e

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/tree"
)

func openImage(t *testing.T, path string) *inspect.Image {
	t.Helper()
	img, err := inspect.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

func rootOf(t *testing.T, path string) *tree.Tree {
	t.Helper()
	root, err := openImage(t, path).Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// extract copies a partition, counted from 0, into a file of its own.
func extract(t *testing.T, path string, index int) string {
	t.Helper()
	p := openImage(t, path).Layout.Partitions[index]
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	name := filepath.Join(t.TempDir(), "partition")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, p.Reader(in)); err != nil {
		t.Fatal(err)
	}
	return name
}

// writeOut copies the files below prefix to the host, without owners.
func writeOut(t *testing.T, tr *tree.Tree, prefix, dir string) {
	t.Helper()
	for n := range tr.Walk() {
		if n.Path != prefix && !strings.HasPrefix(n.Path, prefix+"/") {
			continue
		}
		to := filepath.Join(dir, n.Path)
		var err error
		switch {
		case n.Mode.IsDir():
			err = os.MkdirAll(to, 0o755)
		case n.Mode&fs.ModeSymlink != 0:
			err = os.Symlink(n.Link, to)
		case n.Mode.IsRegular():
			var data []byte
			if data, err = tr.ReadAll(n.Path); err == nil {
				err = os.WriteFile(to, data, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
