// Package fdt reads and writes flattened device trees (Devicetree
// Specification 0.4, chapter 5, version 17). It knows the container only:
// property values are bytes. It refuses blobs that are damaged or older than
// version 16.
package fdt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Tree is a device tree.
type Tree struct {
	Root *Node
	// Reserved are pairs of address and size that the kernel must not use.
	Reserved [][2]uint64
	// BootCPU is the physical ID of the boot CPU.
	BootCPU uint32
}

// Node is a node with its properties and children in the order of the blob.
type Node struct {
	Name     string
	Props    []Prop
	Children []*Node
}

// Prop is a property.
type Prop struct {
	Name  string
	Value []byte
}

// Set adds or replaces a property.
func (n *Node) Set(name string, value []byte) {
	for i := range n.Props {
		if n.Props[i].Name == name {
			n.Props[i].Value = value
			return
		}
	}
	n.Props = append(n.Props, Prop{name, value})
}

// Get returns a property's value and whether it is there.
func (n *Node) Get(name string) ([]byte, bool) {
	for _, p := range n.Props {
		if p.Name == name {
			return p.Value, true
		}
	}
	return nil, false
}

// Delete removes a property, if it is there.
func (n *Node) Delete(name string) {
	for i, p := range n.Props {
		if p.Name == name {
			n.Props = append(n.Props[:i:i], n.Props[i+1:]...)
			return
		}
	}
}

// Child returns the child with the given name, or nil.
func (n *Node) Child(name string) *Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// DeleteChild removes a child, if it is there.
func (n *Node) DeleteChild(name string) {
	for i, c := range n.Children {
		if c.Name == name {
			n.Children = append(n.Children[:i:i], n.Children[i+1:]...)
			return
		}
	}
}

// Find returns the node at a path such as "/soc/serial@7e201000", or nil.
func (t *Tree) Find(path string) *Node {
	n := t.Root
	for _, name := range strings.Split(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		if n = n.Child(name); n == nil {
			return nil
		}
	}
	return n
}

const (
	magic      = 0xd00dfeed
	headerSize = 40
	beginNode  = 1
	endNode    = 2
	prop       = 3
	nop        = 4
	end        = 9
	maxDepth   = 64
)

var errDamaged = errors.New("damaged device tree")

// Parse reads a blob.
func Parse(b []byte) (*Tree, error) {
	be := binary.BigEndian
	if len(b) < headerSize || be.Uint32(b) != magic {
		return nil, errors.New("not a flattened device tree")
	}
	u := func(i int) uint32 { return be.Uint32(b[4*i:]) }
	if u(1) < headerSize || uint64(u(1)) > uint64(len(b)) || u(5) < 16 || u(6) > 17 {
		return nil, fmt.Errorf("%w: %d bytes of %d, version %d", errDamaged, len(b), u(1), u(5))
	}
	b = b[:u(1)]
	structs, err := slice(b, u(2), u(9))
	if err != nil {
		return nil, err
	}
	texts, err := slice(b, u(3), u(8))
	if err != nil {
		return nil, err
	}
	t := &Tree{BootCPU: u(7)}
	if t.Reserved, err = readReserved(b, u(4)); err != nil {
		return nil, err
	}
	r := reader{b: structs, texts: texts}
	t.Root, err = r.root()
	return t, err
}

func slice(b []byte, off, size uint32) ([]byte, error) {
	if uint64(off)+uint64(size) > uint64(len(b)) {
		return nil, fmt.Errorf("%w: a block lies outside", errDamaged)
	}
	return b[off : off+size], nil
}

func readReserved(b []byte, off uint32) ([][2]uint64, error) {
	var out [][2]uint64
	for i := uint64(off); i+16 <= uint64(len(b)); i += 16 {
		pair := [2]uint64{binary.BigEndian.Uint64(b[i:]), binary.BigEndian.Uint64(b[i+8:])}
		if pair == [2]uint64{} {
			return out, nil
		}
		out = append(out, pair)
	}
	return nil, fmt.Errorf("%w: the list of reserved memory has no end", errDamaged)
}

// reader walks the structure block.
type reader struct {
	b, texts []byte
}

func (r *reader) u32() (uint32, error) {
	if len(r.b) < 4 {
		return 0, fmt.Errorf("%w: it ends too early", errDamaged)
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v, nil
}

func (r *reader) token() (uint32, error) {
	for {
		v, err := r.u32()
		if err != nil || v != nop {
			return v, err
		}
	}
}

func (r *reader) root() (*Node, error) {
	if v, err := r.token(); err != nil || v != beginNode {
		return nil, fmt.Errorf("%w: no root node", errDamaged)
	}
	n, err := r.node(0)
	if err != nil {
		return nil, err
	}
	if v, err := r.token(); err != nil || v != end {
		return nil, fmt.Errorf("%w: something follows the root node", errDamaged)
	}
	return n, nil
}

// node reads what follows a beginNode token.
func (r *reader) node(depth int) (*Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: deeper than %d nodes", errDamaged, maxDepth)
	}
	name, ok := cString(r.b)
	if !ok {
		return nil, fmt.Errorf("%w: a name has no end", errDamaged)
	}
	if err := r.skip(len(name) + 1); err != nil {
		return nil, err
	}
	n := &Node{Name: name}
	for {
		v, err := r.token()
		if err != nil {
			return nil, err
		}
		switch v {
		case prop:
			err = r.prop(n)
		case beginNode:
			var c *Node
			c, err = r.node(depth + 1)
			n.Children = append(n.Children, c)
		case endNode:
			return n, nil
		default:
			err = fmt.Errorf("%w: unknown token %d", errDamaged, v)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (r *reader) prop(n *Node) error {
	size, err := r.u32()
	if err != nil {
		return err
	}
	off, err := r.u32()
	if err != nil {
		return err
	}
	if uint64(size) > uint64(len(r.b)) || uint64(off) > uint64(len(r.texts)) {
		return fmt.Errorf("%w: a property lies outside", errDamaged)
	}
	name, ok := cString(r.texts[off:])
	if !ok {
		return fmt.Errorf("%w: a property's name has no end", errDamaged)
	}
	n.Props = append(n.Props, Prop{name, bytes.Clone(r.b[:size])})
	return r.skip(int(size))
}

// skip moves on by n bytes and the padding to the next word.
func (r *reader) skip(n int) error {
	n = (n + 3) &^ 3
	if n > len(r.b) {
		return fmt.Errorf("%w: it ends too early", errDamaged)
	}
	r.b = r.b[n:]
	return nil
}

func cString(b []byte) (string, bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", false
	}
	return string(b[:i]), true
}
