// Package qcow2 writes and reads disk images in QEMU's format (docs/interop/qcow2.rst),
// version 3, which cloud providers import.
//
// Write turns a raw image into a stream that is the same for the same image; clusters of
// zeros are left out. Reader presents such a file as its disk. The package supports no
// snapshots, backing files, compression or encryption.
package qcow2

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	clusterBits = 16
	cluster     = 1 << clusterBits
	perTable    = cluster / 8 // entries of an L2 table, and of a cluster of L1 or refcount table
	perBlock    = cluster / 2 // refcounts of 16 bits in a block
	sector      = 512

	// copied marks a cluster with a reference count of one, in L1 and L2 tables.
	copied = 1 << 63
	// largest is how many bytes of a file one cluster of the refcount table covers, halved;
	// images are far smaller.
	largest = int64(perTable) * perBlock * cluster / 2
)

// image is the layout of the file, in clusters.
type image struct {
	size   int64
	used   []bool // by cluster of the disk: it is not all zeros
	tables []bool // by entry of L1: it has an L2 table

	blocks, l1, l2, data, end int64 // where each area begins
}

// Write writes size bytes of a raw image to w.
func Write(w io.Writer, raw io.ReaderAt, size int64) error {
	if size%sector != 0 || size <= 0 || size > largest {
		return fmt.Errorf("qcow2: %d bytes are no disk", size)
	}
	used, err := occupied(raw, size)
	if err != nil {
		return err
	}
	i := arrange(size, used)
	b := bufio.NewWriterSize(w, cluster)
	i.header(b)
	i.refcounts(b)
	i.maps(b)
	if err := i.copy(b, raw); err != nil {
		return err
	}
	return b.Flush()
}

// occupied finds the clusters that are not all zeros.
func occupied(raw io.ReaderAt, size int64) ([]bool, error) {
	used := make([]bool, ceil(size, cluster))
	zeros := make([]byte, cluster)
	for n := range used {
		c, err := read(raw, size, int64(n))
		if err != nil {
			return nil, err
		}
		used[n] = !bytes.Equal(c, zeros[:len(c)])
	}
	return used, nil
}

// read returns a cluster of the disk; the last one may be shorter.
func read(raw io.ReaderAt, size, n int64) ([]byte, error) {
	c := make([]byte, min(cluster, size-n*cluster))
	if _, err := io.ReadFull(io.NewSectionReader(raw, n*cluster, int64(len(c))), c); err != nil {
		return nil, fmt.Errorf("qcow2: read the image at %d: %w", n*cluster, err)
	}
	return c, nil
}

func ceil(n, unit int64) int64 { return (n + unit - 1) / unit }

// arrange lays out header, refcount table, refcount blocks, L1, L2 and data, in
// this order.
func arrange(size int64, used []bool) *image {
	i := &image{size: size, used: used, tables: make([]bool, ceil(int64(len(used)), perTable))}
	var data, tables int64
	for n, u := range used {
		if !u {
			continue
		}
		data++
		if t := n / perTable; !i.tables[t] {
			i.tables[t] = true
			tables++
		}
	}
	i.blocks = 2
	for blocks := int64(1); ; blocks++ { // the blocks also have refcounts
		i.l1 = i.blocks + blocks
		i.l2 = i.l1 + ceil(int64(len(i.tables)), perTable)
		i.data = i.l2 + tables
		i.end = i.data + data
		if i.end <= blocks*perBlock {
			return i
		}
	}
}

func (i *image) header(w io.Writer) {
	h := make([]byte, cluster)
	copy(h, "QFI\xfb")
	be := binary.BigEndian
	be.PutUint32(h[4:], 3) // version
	be.PutUint32(h[20:], clusterBits)
	be.PutUint64(h[24:], uint64(i.size))
	be.PutUint32(h[36:], uint32(len(i.tables)))
	be.PutUint64(h[40:], uint64(i.l1*cluster))
	be.PutUint64(h[48:], cluster) // refcount table
	be.PutUint32(h[56:], 1)       // its length in clusters
	be.PutUint32(h[96:], 4)       // refcounts of 1<<4 bits
	be.PutUint32(h[100:], 104)    // length of this header
	_, _ = w.Write(h)             // a bufio.Writer returns its first error from Flush
}

// refcounts writes the refcount table and blocks: every cluster has the count one.
func (i *image) refcounts(w io.Writer) {
	blocks := i.l1 - i.blocks
	table := make([]byte, cluster)
	for n := range blocks {
		binary.BigEndian.PutUint64(table[n*8:], uint64((i.blocks+n)*cluster))
	}
	_, _ = w.Write(table)
	for n := range blocks {
		block := make([]byte, cluster)
		for c := range min(perBlock, i.end-n*perBlock) {
			binary.BigEndian.PutUint16(block[c*2:], 1)
		}
		_, _ = w.Write(block)
	}
}

// maps writes the L1 and L2 tables, which map each cluster of the disk to its place in the
// file.
func (i *image) maps(w io.Writer) {
	l1 := make([]byte, (i.l2-i.l1)*cluster)
	next := i.l2
	for t, there := range i.tables {
		if there {
			binary.BigEndian.PutUint64(l1[t*8:], copied|uint64(next*cluster))
			next++
		}
	}
	_, _ = w.Write(l1)
	next = i.data
	for t, there := range i.tables {
		if !there {
			continue
		}
		l2 := make([]byte, cluster)
		for e, u := range i.used[t*perTable : min((t+1)*perTable, len(i.used))] {
			if u {
				binary.BigEndian.PutUint64(l2[e*8:], copied|uint64(next*cluster))
				next++
			}
		}
		_, _ = w.Write(l2)
	}
}

func (i *image) copy(w io.Writer, raw io.ReaderAt) error {
	for n, u := range i.used {
		if !u {
			continue
		}
		c, err := read(raw, i.size, int64(n))
		if err != nil {
			return err
		}
		full := make([]byte, cluster)
		copy(full, c)
		if _, err := w.Write(full); err != nil {
			return err
		}
	}
	return nil
}
