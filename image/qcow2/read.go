package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Magic is the beginning of every file in this format.
const Magic = "QFI\xfb"

// Reader reads the disk in an image.
type Reader struct {
	file   io.ReaderAt
	length int64 // of the file
	size   int64
	tables []int64 // offsets of the L2 tables in the file; 0 if there is none
}

// NewReader opens an image in a file of length bytes. It reads what Write writes and what
// "qemu-img convert" makes of a raw image. It refuses every other feature, by name, because
// it would read the disk wrongly.
func NewReader(file io.ReaderAt, length int64) (*Reader, error) {
	h := make([]byte, headerLength)
	if _, err := file.ReadAt(h, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := check(h); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	r := &Reader{file: file, length: length, size: int64(be.Uint64(h[24:]))}
	if r.size <= 0 || r.size > largest || r.size%sector != 0 {
		return nil, fmt.Errorf("qcow2: %d bytes are no disk", be.Uint64(h[24:]))
	}
	entries := ceil(ceil(r.size, cluster), perTable)
	if int64(be.Uint32(h[36:])) < entries {
		return nil, errors.New("qcow2: its first table is shorter than its disk")
	}
	at, err := r.place(be.Uint64(h[40:]), entries*8)
	if err != nil {
		return nil, err
	}
	l1 := make([]byte, entries*8)
	if err := r.read(l1, at); err != nil {
		return nil, err
	}
	for ; len(l1) > 0; l1 = l1[8:] {
		table, err := r.entry(be.Uint64(l1), cluster)
		if err != nil {
			return nil, err
		}
		r.tables = append(r.tables, table)
	}
	return r, nil
}

// headerLength is the length of a version 3 header without extensions, in bytes.
const headerLength = 104

// check refuses headers that differ from Write's in anything that matters for reading.
func check(h []byte) error {
	be := binary.BigEndian
	switch version := be.Uint32(h[4:]); {
	case string(h[:4]) != Magic:
		return errors.New("qcow2: is no image of this format")
	case version != 3:
		return fmt.Errorf("qcow2: is of version %d; want 3 (qemu-img amend -o compat=1.1)", version)
	case be.Uint64(h[8:]) != 0:
		return errors.New("qcow2: has a backing file, where the rest of its disk is; make one image of both (qemu-img convert -O qcow2)")
	case be.Uint32(h[20:]) != clusterBits:
		return fmt.Errorf("qcow2: has clusters of 2^%d bytes; want 2^%d (qemu-img convert -O qcow2)", be.Uint32(h[20:]), clusterBits)
	case be.Uint32(h[32:]) != 0:
		return errors.New("qcow2: is encrypted; decrypt it first (qemu-img convert)")
	case be.Uint32(h[60:]) != 0:
		return errors.New("qcow2: has snapshots, of which any may be meant; make an image of one (qemu-img convert -l)")
	case be.Uint32(h[100:]) < headerLength:
		return errors.New("qcow2: is cut short in its header")
	}
	return checkFeatures(be.Uint64(h[72:]))
}

// features describes, by bit, the incompatible features, which change the meaning of the
// rest.
var features = []string{
	"was not closed (qemu-img check -r all)", "is marked as damaged", "keeps its data in another file",
	"is compressed in its own way", "has extended tables (extended_l2)",
}

func checkFeatures(bits uint64) error {
	var all []string
	for n, what := range features {
		if bits>>n&1 == 1 {
			all = append(all, what)
		}
	}
	if bits>>len(features) != 0 {
		all = append(all, "has a feature that this program does not know")
	}
	if len(all) > 0 {
		return fmt.Errorf("qcow2: %s", strings.Join(all, ", "))
	}
	return nil
}

// Size is the length of the disk, in bytes.
func (r *Reader) Size() int64 { return r.size }

// ReadAt reads from the disk.
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("qcow2: a disk begins at 0")
	}
	for n < len(p) {
		at := off + int64(n)
		if at >= r.size {
			return n, io.EOF
		}
		part := p[n:][:min(int64(len(p)-n), cluster-at%cluster, r.size-at)]
		if err := r.readCluster(part, at); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// readCluster reads len(p) bytes at off, which must be within one cluster of the disk.
func (r *Reader) readCluster(p []byte, off int64) error {
	clear(p)
	table := r.tables[off/cluster/perTable]
	if table == 0 {
		return nil
	}
	var b [8]byte
	if err := r.read(b[:], table+off/cluster%perTable*8); err != nil {
		return err
	}
	e := binary.BigEndian.Uint64(b[:])
	switch {
	case e&packed != 0:
		return errors.New("qcow2: has compressed clusters; unpack it first (qemu-img convert -O raw)")
	case e&nothing != 0:
		return nil
	}
	in := off % cluster
	data, err := r.entry(e, in+int64(len(p)))
	if err != nil || data == 0 {
		return err
	}
	return r.read(p, data+in)
}

// The bits of a table entry, besides copied (docs/interop/qcow2.rst, "Cluster mapping").
const (
	packed  = 1 << 62
	nothing = 1 // in L2: the cluster reads as zeros, whatever the offset
	where   = 1<<56 - 1<<9
)

// entry returns the offset in the file of the table or cluster that e refers to, or 0 if there is
// none. It checks that the file has length bytes there.
func (r *Reader) entry(e uint64, length int64) (int64, error) {
	switch {
	case e == 0:
		return 0, nil
	case e&^uint64(copied|where) != 0:
		return 0, fmt.Errorf("qcow2: a table has %#x, which leads nowhere: it is damaged", e)
	}
	return r.place(e&where, length)
}

// place checks that the file has length bytes at offset at.
func (r *Reader) place(at uint64, length int64) (int64, error) {
	if at == 0 || at%cluster != 0 || at > uint64(r.length) || length > r.length-int64(at) {
		return 0, fmt.Errorf("qcow2: what should be at byte %d of the file is not there: it is damaged or cut short", at)
	}
	return int64(at), nil
}

// read reads from the file at an offset that place has checked.
func (r *Reader) read(p []byte, at int64) error {
	if n, err := r.file.ReadAt(p, at); n < len(p) {
		return fmt.Errorf("qcow2: read byte %d of the file: %w", at, err)
	}
	return nil
}
