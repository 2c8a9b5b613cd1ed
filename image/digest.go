package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// digest hashes a list of values, each with its length, so that two different lists cannot
// give the same input to the hash.
type digest struct{ h hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) line(parts ...any) {
	for _, p := range parts {
		text := fmt.Sprint(p)
		fmt.Fprintf(d.h, "%d:%s", len(text), text)
	}
}

func (d digest) json(v any) { d.line(string(encodeJSON(v))) }

// tree hashes everything about a tree except the Source of its nodes.
func (d digest) tree(t *tree.Tree) {
	for n := range t.Walk() {
		sum := ""
		if n.Content != nil {
			sum = n.Content.SHA256()
		}
		d.line(n.Path, uint32(n.Mode), n.UID, n.GID, n.ModTime.Unix(), n.Link, n.Dev.Major, n.Dev.Minor, sum)
		d.json(n.Xattrs) // encoding/json sorts maps
	}
}

func (d digest) sum() string { return hex.EncodeToString(d.h.Sum(nil)) }
