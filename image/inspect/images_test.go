package inspect_test

import (
	"archive/tar"
	"bytes"
	"io"
	"math/rand"
	"os"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestArchivesOfARoot: the digest in the name holds for every byte, whatever the
// format; what the node has yet to fetch is no fault.
func TestArchivesOfARoot(t *testing.T) {
	noise := make([]byte, 300_000) // as compressed things are
	rand.New(rand.NewSource(1)).Read(noise)
	upstream := tree.Bytes(noise)
	docker := tarOf(t, "manifest.json")
	layout := tarOf(t, "blobs/", "blobs/sha256/", "manifest.json", "oci-layout") // as docker has it since version 25
	named := func(c tree.Content) string {
		return contract.ImagesDir + "/" + contract.ByDigest("z", c.SHA256()) + ".tar"
	}
	root := tree.New()
	for _, n := range []*tree.Node{
		{Path: contract.ImagesDir + "/" + contract.ByDigest("k3s-airgap-images", upstream.SHA256()) + ".tar.zst", Mode: 0o644, Content: upstream},
		{Path: named(docker), Mode: 0o644, Content: docker},
		{Path: named(layout), Mode: 0o644, Content: layout},
		{Path: contract.ImagesDir + "/later-abababababab.tar.zst", Mode: 0o777 | 1<<27, Link: "/var/lib/later"},
		{Path: contract.ImagesDir + "/images-abababababab.tar", Mode: 0o644, Content: tree.String("no tar")},
	} {
		if err := root.MkdirAll(contract.ImagesDir, n.ModTime, ""); err != nil {
			t.Fatal(err)
		}
		if err := root.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	carried, err := inspect.Carried(root)
	if err != nil || len(carried) != 5 || !carried[2].Deferred {
		t.Errorf("%+v, %v", carried, err)
	}
	for _, a := range carried {
		if len(a.Problems) > 0 || a.SHA256 != "" || !a.Deferred && a.Size == 0 {
			t.Errorf("looked into: %+v", a)
		}
	}
	image := write(t, files(t, nil), root)
	list := archives(t, image)
	if len(list) != 5 || len(list[0].Problems) == 0 || len(list[1].Problems) != 0 || list[1].SHA256 != upstream.SHA256() || !list[2].Deferred {
		t.Fatalf("%+v", list)
	}
	for _, a := range list[3:] { // docker's old ones have nothing that could be followed
		want := map[string]string{docker.SHA256(): "", layout.SHA256(): "its index.json names no image (unexpected end of JSON input)"}[a.SHA256]
		if got := strings.Join(a.Problems, "\n"); got != want || a.SHA256 == "" {
			t.Errorf("%+v, want %q", a, want)
		}
	}
	flip(t, image, noise[200_000:200_100])
	if list := archives(t, image); len(list[1].Problems) != 1 || !strings.Contains(list[1].Problems[0], "not the one in its name") {
		t.Errorf("%+v", list)
	}
}

// TestNoArchives: a script reads a list, also of none.
func TestNoArchives(t *testing.T) {
	if list, err := inspect.Archives(tree.New()); err != nil || list == nil || len(list) != 0 {
		t.Errorf("%#v, %v", list, err)
	}
}

// tarOf is a tar of files with a brace in them each.
func tarOf(t *testing.T, names ...string) tree.Content {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: 2}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Size = tar.TypeDir, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "{}"[:h.Size])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return tree.Bytes(b.Bytes())
}

func archives(t *testing.T, image string) []inspect.Archive {
	t.Helper()
	img, err := inspect.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	root, err := img.Root()
	if err != nil {
		t.Fatal(err)
	}
	list, err := inspect.Archives(root)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// flip changes one bit of an image: of the first byte of what.
func flip(t *testing.T, image string, what []byte) {
	t.Helper()
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, what)] ^= 1
	if err := os.WriteFile(image, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
