package inspect

import (
	"fmt"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/oci"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// Archive is a file with container images in a root, and the result of reading it.
type Archive struct {
	File     string      `json:"file"`
	Size     int64       `json:"size"`
	SHA256   string      `json:"sha256,omitempty"`
	Images   []oci.Entry `json:"images,omitempty"`
	Problems []string    `json:"problems,omitempty"`
	Deferred bool        `json:"deferred,omitempty"` // the node downloads it at first boot
}

// Archives reads every archive of container images in a root to its end, and checks whether
// all their images are complete.
func Archives(root *tree.Tree) ([]Archive, error) { return archives(root, checkArchive) }

// Carried lists the archives of container images in a root and the images that they name,
// without checking them.
func Carried(root *tree.Tree) ([]Archive, error) { return archives(root, listArchive) }

func archives(root *tree.Tree, read func(*tree.Node) (*Archive, error)) ([]Archive, error) {
	list := []Archive{}
	for _, n := range root.Children(contract.ImagesDir) {
		if !n.Mode.IsRegular() { // a link to a file that the node has yet to download
			list = append(list, Archive{File: "/" + n.Path, Deferred: true})
			continue
		}
		a, err := read(n)
		if err != nil {
			return nil, fmt.Errorf("/%s: %w", n.Path, err)
		}
		list = append(list, *a)
	}
	return list, nil
}

func listArchive(n *tree.Node) (*Archive, error) {
	r, err := n.Content.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	names, err := oci.Names(r)
	return &Archive{File: "/" + n.Path, Size: n.Size(), Images: names}, err
}

// checkArchive compares the file with the digest in its name, and checks an OCI layout for
// consistency. Upstream's own archives have another format, so for them only the digest is
// checked.
func checkArchive(n *tree.Node) (*Archive, error) {
	a := &Archive{File: "/" + n.Path, Size: n.Size()}
	stem, _, _ := strings.Cut(path.Base(n.Path), ".")
	r, err := n.Content.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	c, err := oci.Check(r)
	if err != nil { // a file that cannot be read has no digest
		a.Problems = append(a.Problems, fmt.Sprintf("it cannot be read: %v", err))
		return a, nil
	}
	if a.SHA256 = c.SHA256; c.Layout {
		a.Images, a.Problems = c.Images, c.Problems
	}
	if !contract.IsByDigest(stem, a.SHA256) {
		a.Problems = append(a.Problems, fmt.Sprintf("its digest is %s, which is not the one in its name", a.SHA256))
	}
	return a, nil
}
