package kmod

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// unpack replaces every compressed module in the tree by the uncompressed file. The image
// is compressed as a whole anyway, and then an update of a kernel is small, whereas two
// compressed versions of a module have nothing in common.
func (m *Modules) unpack() error {
	b, err := m.remember(m.fingerprint("unpack"), m.unpackedSums)
	if err != nil {
		return err
	}
	gone := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		c := &unpacked{}
		var name string
		if n, _ := fmt.Sscan(line, &name, &c.size, &c.sum); n != 3 || m.files[name] == nil {
			return errDamaged
		}
		x := m.files[name]
		gone[x.path] = true
		c.packed, c.name = x.node.Content, x.path
		x.node = x.node.Clone()
		x.rel = x.uncompressed()
		x.path = path.Join(m.dir, x.rel)
		x.node.Path, x.node.Content = x.path, c
		if err := m.tree.Put(x.node); err != nil {
			return err
		}
	}
	m.tree.RemoveFunc(func(n *tree.Node) bool { return gone[n.Path] })
	return nil
}

// unpackedSums writes a line for each compressed module: name, size and digest of the
// uncompressed file.
func (m *Modules) unpackedSums() ([]byte, error) {
	list := m.list()
	if err := load(list); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, x := range list {
		if x.rel != x.uncompressed() {
			fmt.Fprintln(&b, x.name, x.info.size, x.info.sum)
		}
	}
	return b.Bytes(), nil
}

// unpacked is the uncompressed content of a compressed module.
type unpacked struct {
	packed tree.Content
	name   string // its ending tells the compression
	size   int64
	sum    string
}

func (u *unpacked) Size() int64    { return u.size }
func (u *unpacked) SHA256() string { return u.sum }

func (u *unpacked) Open() (io.ReadCloser, error) {
	f, err := u.packed.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := decompress(u.name, f)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", u.name, err)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}
