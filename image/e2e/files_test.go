//go:build e2e

package e2e

import (
	"bytes"
	"debug/pe"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/slot"
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

// initramfsOf returns the file that the kernel of slot a unpacks.
func initramfsOf(t *testing.T, path string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "initrd")
	img := openImage(t, path)
	data, err := img.BootFile("a/initrd.img")
	if err != nil {
		data = ukiSection(t, img, ".initrd")
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// ukiSection reads a section of slot a's unified kernel image with the
// standard library's PE reader.
func ukiSection(t *testing.T, img *inspect.Image, section string) []byte {
	t.Helper()
	name := slot.EFIDir + "/" + slot.EFIName{Generation: 1, Slot: "a"}.String()
	data, err := img.BootFile(name)
	if err != nil {
		t.Fatal(err)
	}
	uki, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	s := uki.Section(section)
	if s == nil {
		t.Fatalf("%s has no %s", name, section)
	}
	body, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	return body[:min(uint32(len(body)), s.VirtualSize)]
}
