package fdt

import "encoding/binary"

// Bytes returns the blob: header, reservations, structure, strings. Equal
// trees give equal bytes.
func (t *Tree) Bytes() []byte {
	be := binary.BigEndian
	w := writer{offsets: map[string]uint32{}}
	w.node(t.Root)
	w.u32(end)
	reserved := append(append([][2]uint64(nil), t.Reserved...), [2]uint64{})
	structOff := uint32(headerSize + 16*len(reserved))
	stringsOff := structOff + uint32(len(w.b))
	total := stringsOff + uint32(len(w.texts))
	out := make([]byte, 0, total)
	for _, v := range []uint32{
		magic, total, structOff, stringsOff, headerSize, 17, 16, t.BootCPU, uint32(len(w.texts)), uint32(len(w.b)),
	} {
		out = be.AppendUint32(out, v)
	}
	for _, r := range reserved {
		out = be.AppendUint64(be.AppendUint64(out, r[0]), r[1])
	}
	return append(append(out, w.b...), w.texts...)
}

// writer builds the structure and strings blocks.
type writer struct {
	b, texts []byte
	offsets  map[string]uint32
}

func (w *writer) u32(v uint32) { w.b = binary.BigEndian.AppendUint32(w.b, v) }

func (w *writer) bytes(b []byte) {
	w.b = append(w.b, b...)
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *writer) node(n *Node) {
	w.u32(beginNode)
	w.bytes(append([]byte(n.Name), 0))
	for _, p := range n.Props {
		w.u32(prop)
		w.u32(uint32(len(p.Value)))
		w.u32(w.text(p.Name))
		w.bytes(p.Value)
	}
	for _, c := range n.Children {
		w.node(c)
	}
	w.u32(endNode)
}

// text returns the offset of a property name, which is stored once.
func (w *writer) text(s string) uint32 {
	if off, ok := w.offsets[s]; ok {
		return off
	}
	off := uint32(len(w.texts))
	w.offsets[s] = off
	w.texts = append(append(w.texts, s...), 0)
	return off
}
