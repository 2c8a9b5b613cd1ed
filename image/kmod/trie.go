package kmod

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The binary indexes of kmod are a radix tree of keys in 7-bit ASCII. The file
// (libkmod/libkmod-index.c, tools/depmod.c of kmod 34) begins with
//
//	magic    uint32 big-endian 0xB007F457
//	version  uint32 0x00020001
//	root     uint32, the offset of the root node with its flags
//
// and a node, whose fields the high four bits of its offset announce, is
//
//	prefix   NUL-terminated string             if flag 0x80000000
//	first    byte                              if flag 0x20000000
//	last     byte
//	children (last-first+1) × uint32           offset with flags, 0 for none
//	count    uint32                            if flag 0x40000000
//	values   count × (priority uint32, NUL-terminated string)
//
// in this order. A key consists of the prefixes and child bytes on the path from the root.
// Values are sorted by priority, which is their module's index in modules.dep; of equal
// priorities, the last inserted comes first. This package writes a node before its children,
// as kmod 34 does; kmod 30 wrote it after them, and every version reads both.
const (
	trieMagic   = 0xB007F457
	trieVersion = 0x00020001
	trieHeader  = 12

	flagPrefix   = 0x80000000
	flagValues   = 0x40000000
	flagChildren = 0x20000000
	offsetMask   = 0x0FFFFFFF
)

// trieNode is a node while the tree is built.
type trieNode struct {
	prefix   string
	children map[byte]*trieNode
	values   []trieValue
	size     int // of this node alone
	total    int // with all below it
}

type trieValue struct {
	text     string
	priority uint32
}

// insert adds a value to a key.
func (n *trieNode) insert(key, value string, priority int) error {
	for _, s := range []string{key, value} {
		if i := strings.IndexFunc(s, func(r rune) bool { return r == 0 || r > 127 }); i >= 0 {
			return fmt.Errorf("module index: %q is not 7-bit ASCII", s)
		}
	}
	v := trieValue{value, uint32(priority)}
	for {
		common := commonPrefix(n.prefix, key)
		if common < len(n.prefix) {
			n.split(common)
		}
		key = key[common:]
		if key == "" {
			n.addValue(v)
			return nil
		}
		child := n.children[key[0]]
		if child == nil {
			if n.children == nil {
				n.children = map[byte]*trieNode{}
			}
			n.children[key[0]] = &trieNode{prefix: key[1:], values: []trieValue{v}}
			return nil
		}
		n, key = child, key[1:]
	}
}

func commonPrefix(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

// split ends n before byte at of its prefix and moves the rest into a new child.
func (n *trieNode) split(at int) {
	child := &trieNode{prefix: n.prefix[at+1:], children: n.children, values: n.values}
	*n = trieNode{prefix: n.prefix[:at], children: map[byte]*trieNode{n.prefix[at]: child}}
}

func (n *trieNode) addValue(v trieValue) {
	i := 0
	for i < len(n.values) && n.values[i].priority < v.priority {
		i++
	}
	n.values = append(n.values, trieValue{})
	copy(n.values[i+1:], n.values[i:])
	n.values[i] = v
}

// encode returns the content of the index file.
func (n *trieNode) encode() ([]byte, error) {
	if n.measure(); n.total+trieHeader > offsetMask {
		return nil, fmt.Errorf("module index: %d bytes are too many", n.total)
	}
	b := make([]byte, 0, n.total+trieHeader)
	b = binary.BigEndian.AppendUint32(b, trieMagic)
	b = binary.BigEndian.AppendUint32(b, trieVersion)
	b = binary.BigEndian.AppendUint32(b, trieHeader|n.flags())
	return n.append(b), nil
}

func (n *trieNode) flags() uint32 {
	var f uint32
	if n.prefix != "" {
		f |= flagPrefix
	}
	if n.children != nil {
		f |= flagChildren
	}
	if n.values != nil {
		f |= flagValues
	}
	return f
}

// span returns the lowest and highest byte that has a child.
func (n *trieNode) span() (first, last byte) {
	first = 255
	for c := range n.children {
		first, last = min(first, c), max(last, c)
	}
	return first, last
}

func (n *trieNode) measure() {
	n.size, n.total = 0, 0
	if n.prefix != "" {
		n.size += len(n.prefix) + 1
	}
	if n.children != nil {
		first, last := n.span()
		n.size += 2 + 4*(int(last-first)+1)
		for _, c := range n.children {
			c.measure()
			n.total += c.total
		}
	}
	if n.values != nil {
		n.size += 4
		for _, v := range n.values {
			n.size += 4 + len(v.text) + 1
		}
	}
	n.total += n.size
}

func (n *trieNode) append(b []byte) []byte {
	next := len(b) + n.size // where the first child goes
	if n.prefix != "" {
		b = append(append(b, n.prefix...), 0)
	}
	first, last := n.span()
	if n.children != nil {
		b = append(b, first, last)
		for c := int(first); c <= int(last); c++ {
			var off uint32
			if child := n.children[byte(c)]; child != nil {
				off = uint32(next) | child.flags()
				next += child.total
			}
			b = binary.BigEndian.AppendUint32(b, off)
		}
	}
	if n.values != nil {
		b = binary.BigEndian.AppendUint32(b, uint32(len(n.values)))
		for _, v := range n.values {
			b = binary.BigEndian.AppendUint32(b, v.priority)
			b = append(append(b, v.text...), 0)
		}
	}
	for c := int(first); c <= int(last); c++ {
		if child := n.children[byte(c)]; child != nil {
			b = child.append(b)
		}
	}
	return b
}
