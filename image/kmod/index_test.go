package kmod

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Entry is one key of a binary index with its values, lowest priority first.
type Entry struct {
	Key    string
	Values []Value
}

// Value is the text that belongs to a key, such as a module's name for an
// alias or a line of modules.dep for a module.
type Value struct {
	Text     string
	Priority uint32
}

// readIndex returns the entries of a binary index ("modules.dep.bin"), sorted
// by key. It reads what any version of depmod writes.
func readIndex(b []byte) ([]Entry, error) {
	if len(b) < trieHeader || binary.BigEndian.Uint32(b) != trieMagic {
		return nil, errors.New("not a module index")
	}
	if v := binary.BigEndian.Uint32(b[4:]); v>>16 != trieVersion>>16 {
		return nil, fmt.Errorf("module index of version %#x, only %#x can be read", v, trieVersion)
	}
	r := &trieReader{data: b, seen: map[uint32]bool{}}
	if err := r.node(binary.BigEndian.Uint32(b[8:]), nil); err != nil {
		return nil, fmt.Errorf("module index: %w", err)
	}
	return r.entries, nil
}

type trieReader struct {
	data    []byte
	seen    map[uint32]bool // offsets: a damaged file may point upwards
	entries []Entry
}

// maxKey is longer than any key, and bounds the depth of the walk.
const maxKey = 4096

// node reads the node at ref and all below it. path is the key so far.
func (r *trieReader) node(ref uint32, path []byte) error {
	off := ref & offsetMask
	if off < trieHeader || uint64(off) > uint64(len(r.data)) || r.seen[off] {
		return fmt.Errorf("bad node at offset %d", off)
	}
	r.seen[off] = true
	c := &trieCursor{rest: r.data[off:]}
	if ref&flagPrefix != 0 {
		path = append(path[:len(path):len(path)], c.text()...)
	}
	var first byte
	var children []byte
	if ref&flagChildren != 0 {
		span := c.take(2)
		if c.failed || span[0] > span[1] {
			return fmt.Errorf("bad children at offset %d", off)
		}
		first = span[0]
		children = c.take(4 * (int(span[1]) - int(first) + 1))
	}
	if ref&flagValues != 0 {
		r.entries = append(r.entries, Entry{string(path), c.values()})
	}
	if c.failed || len(path) > maxKey {
		return fmt.Errorf("truncated node at offset %d", off)
	}
	for i := 0; i < len(children); i += 4 {
		child := binary.BigEndian.Uint32(children[i:])
		if child == 0 {
			continue
		}
		key := append(path[:len(path):len(path)], first+byte(i/4))
		if err := r.node(child, key); err != nil {
			return err
		}
	}
	return nil
}

// trieCursor takes fields off the front of a node.
type trieCursor struct {
	rest   []byte
	failed bool
}

func (c *trieCursor) take(n int) []byte {
	if n > len(c.rest) {
		c.failed, c.rest = true, nil
		return make([]byte, n)
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (c *trieCursor) text() []byte {
	i := bytes.IndexByte(c.rest, 0)
	if i < 0 {
		c.failed, c.rest = true, nil
		return nil
	}
	s := c.rest[:i]
	c.rest = c.rest[i+1:]
	return s
}

func (c *trieCursor) values() []Value {
	var list []Value
	for n := binary.BigEndian.Uint32(c.take(4)); n > 0 && !c.failed; n-- {
		priority := binary.BigEndian.Uint32(c.take(4))
		list = append(list, Value{string(c.text()), priority})
	}
	return list
}
