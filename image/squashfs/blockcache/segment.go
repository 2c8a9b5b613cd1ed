package blockcache

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A segment is blocks, an index and a trailer:
//
//	blocks   one after the other
//	index    64 bytes each: key 32, offset 8, size 8, sum 16
//	trailer  64 bytes: magic 8, number of blocks 8, offset of the index 8, 0, SHA-256 of the index 32
//
// Numbers are little endian. A sum is the first half of the block's SHA-256.
const (
	segmentMagic = "ibblock1"
	entrySize    = 64
	trailerSize  = 64
)

type sum [16]byte

func checksum(data []byte) sum {
	full := sha256.Sum256(data)
	return sum(full[:16])
}

// segment is an immutable file of blocks.
type segment struct {
	name    string
	file    *os.File
	size    int64
	modTime time.Time
	used    bool // since the last Commit
	damaged bool // at least one block is damaged
}

// record is the position of a block.
type record struct {
	segment *segment
	offset  int64
	size    int64
	sum     sum
}

var errDamaged = errors.New("block cache segment is damaged")

// read appends the block to buf.
func (r record) read(buf []byte) ([]byte, error) {
	n := len(buf)
	buf = append(buf, make([]byte, r.size)...)
	if _, err := r.segment.file.ReadAt(buf[n:], r.offset); err != nil {
		return nil, err
	}
	if checksum(buf[n:]) != r.sum {
		return nil, errDamaged
	}
	return buf, nil
}

func openSegment(name string) (*segment, map[Key]record, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	s := &segment{name: name, file: f, size: info.Size(), modTime: info.ModTime()}
	records, err := s.readIndex()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return s, records, nil
}

func (s *segment) readIndex() (map[Key]record, error) {
	if s.size < trailerSize {
		return nil, errDamaged
	}
	trailer := make([]byte, trailerSize)
	if _, err := s.file.ReadAt(trailer, s.size-trailerSize); err != nil {
		return nil, err
	}
	count, at := binary.LittleEndian.Uint64(trailer[8:]), binary.LittleEndian.Uint64(trailer[16:])
	length := uint64(s.size - trailerSize)
	if string(trailer[:8]) != segmentMagic || at > length || count != (length-at)/entrySize || (length-at)%entrySize != 0 {
		return nil, errDamaged
	}
	index := make([]byte, length-at)
	if _, err := s.file.ReadAt(index, int64(at)); err != nil {
		return nil, err
	}
	if digest := sha256.Sum256(index); !bytes.Equal(digest[:], trailer[32:]) {
		return nil, errDamaged
	}
	records := make(map[Key]record, count)
	for ; len(index) > 0; index = index[entrySize:] {
		r := record{
			segment: s,
			offset:  int64(binary.LittleEndian.Uint64(index[32:])),
			size:    int64(binary.LittleEndian.Uint64(index[40:])),
			sum:     sum(index[48:64]),
		}
		if r.offset < 0 || r.size < 0 || r.size > int64(at) || r.offset > int64(at)-r.size {
			return nil, errDamaged
		}
		records[Key(index[:32])] = r
	}
	return records, nil
}

// pending is a segment being written, under a temporary name.
type pending struct {
	file  *os.File
	w     *bufio.Writer
	pos   int64
	index []byte
	keys  map[Key]bool
}

func newPending(dir string) (*pending, error) {
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return nil, err
	}
	return &pending{file: f, w: bufio.NewWriterSize(f, 1<<18), keys: map[Key]bool{}}, nil
}

// size is the length of the segment if one more block entry is added.
func (p *pending) size() int64 { return p.pos + int64(len(p.index)) + trailerSize + entrySize }

func (p *pending) add(key Key, s sum, data []byte) error {
	if p.keys[key] {
		return nil
	}
	if _, err := p.w.Write(data); err != nil {
		return err
	}
	p.keys[key] = true
	p.index = append(p.index, key[:]...)
	p.index = binary.LittleEndian.AppendUint64(p.index, uint64(p.pos))
	p.index = binary.LittleEndian.AppendUint64(p.index, uint64(len(data)))
	p.index = append(p.index, s[:]...)
	p.pos += int64(len(data))
	return nil
}

// publish finishes the segment and gives it a name made from the digest of its index: two
// processes that made the same segment end up with one file.
func (p *pending) publish(dir string) (string, error) {
	digest := sha256.Sum256(p.index)
	trailer := append([]byte(segmentMagic), make([]byte, 24)...)
	binary.LittleEndian.PutUint64(trailer[8:], uint64(len(p.index)/entrySize))
	binary.LittleEndian.PutUint64(trailer[16:], uint64(p.pos))
	p.w.Write(p.index)
	p.w.Write(append(trailer, digest[:]...))
	if err := p.w.Flush(); err != nil { // also returns the errors of the writes
		return "", err
	}
	if err := p.file.Close(); err != nil {
		return "", err
	}
	name := filepath.Join(dir, hex.EncodeToString(digest[:16])+segmentSuffix)
	if err := os.Rename(p.file.Name(), name); err != nil {
		return "", fmt.Errorf("keep blocks: %w", err)
	}
	return name, nil
}

// abort removes the temporary file. A published segment has another name.
func (p *pending) abort() {
	p.file.Close()
	os.Remove(p.file.Name())
}
