package inspect_test

import (
	"bytes"
	"context"
	"math/rand"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/squashfs"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestArchivesOfARoot: the digest in the name holds for every byte, whatever the
// format; what the node has yet to fetch is no fault.
func TestArchivesOfARoot(t *testing.T) {
	noise := make([]byte, 300_000) // as compressed things are
	rand.New(rand.NewSource(1)).Read(noise)
	upstream := tree.Bytes(noise)
	root := tree.New()
	for _, n := range []*tree.Node{
		{Path: contract.ImagesDir + "/" + contract.ByDigest("k3s-airgap-images", upstream.SHA256()) + ".tar.zst", Mode: 0o644, Content: upstream},
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
	var image buffer
	if _, err := squashfs.Write(context.Background(), &image, root, squashfs.Options{}); err != nil {
		t.Fatal(err)
	}
	list := archives(t, image)
	if len(list) != 3 || len(list[0].Problems) == 0 || len(list[1].Problems) != 0 || list[1].SHA256 != upstream.SHA256() || !list[2].Deferred {
		t.Fatalf("%+v", list)
	}
	image[bytes.Index(image, noise[200_000:200_100])] ^= 1
	if list := archives(t, image); len(list[1].Problems) != 1 || !strings.Contains(list[1].Problems[0], "not the one in its name") {
		t.Errorf("%+v", list)
	}
}

func archives(t *testing.T, image buffer) []inspect.Archive {
	t.Helper()
	fsys, err := squashfs.Open(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	root, err := fsys.Tree()
	if err != nil {
		t.Fatal(err)
	}
	list, err := inspect.Archives(root)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// buffer grows as it is written to.
type buffer []byte

func (b *buffer) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p); need > len(*b) {
		*b = append(*b, make([]byte, need-len(*b))...)
	}
	return copy((*b)[off:], p), nil
}
