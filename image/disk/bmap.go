package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"

	"github.com/going-mobile/imagebuilder/image/progress"
)

// MapSuffix is appended to an image's name: bmaptool looks for the map there.
const MapSuffix = ".bmap"

// BlockSize is the unit of a block map, in bytes, the same as bmaptool's.
const BlockSize = 4096

// Range is a run of mapped blocks, First and Last included, with the digest of its bytes in
// lower-case hex.
type Range struct {
	First, Last int64
	SHA256      string
}

// Map says which blocks of an image must be written, and has the digest of the whole image.
type Map struct {
	Size   int64
	SHA256 string // of all Size bytes
	Ranges []Range
}

// Scan reads an image once, to its end, and returns its digest and block map.
//
// mapped is what was written when the image was made (see Recorder), or the extents of
// another map. A flasher may skip all other blocks, whatever the device has there.
func Scan(ctx context.Context, r io.Reader, mapped []Extent, task progress.Task) (*Map, error) {
	s := &scanner{whole: sha256.New(), isMapped: extentDetector(merge(mapped))}
	buf := make([]byte, 1<<20)
	for off := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			s.add(buf[:n], off)
			task.Add(int64(n))
			off += int64(n)
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			s.endRange()
			return &Map{Size: off, SHA256: hex.EncodeToString(s.whole.Sum(nil)), Ranges: s.ranges}, nil
		default:
			return nil, fmt.Errorf("read image at %d: %w", off, err)
		}
	}
}

// scanner computes the digests of the image and of its ranges in one pass.
type scanner struct {
	whole    hash.Hash
	isMapped func(block []byte, off int64) bool
	ranges   []Range
	current  hash.Hash // nil outside a range
}

func (s *scanner) add(b []byte, off int64) {
	var wg sync.WaitGroup
	wg.Go(func() { s.whole.Write(b) })
	for i := 0; i < len(b); {
		i += s.run(b[i:], off+int64(i))
	}
	wg.Wait()
}

// run handles the blocks at the start of b that are all mapped or all unmapped, and returns
// their length.
func (s *scanner) run(b []byte, off int64) int {
	block := func(i int) []byte { return b[i:min(i+BlockSize, len(b))] }
	mapped := s.isMapped(block(0), off)
	n := len(block(0))
	for n < len(b) && s.isMapped(block(n), off+int64(n)) == mapped {
		n += len(block(n))
	}
	if !mapped {
		s.endRange()
		return n
	}
	if s.current == nil {
		s.current = sha256.New()
		s.ranges = append(s.ranges, Range{First: off / BlockSize})
	}
	s.current.Write(b[:n])
	s.ranges[len(s.ranges)-1].Last = (off + int64(n) - 1) / BlockSize
	return n
}

func (s *scanner) endRange() {
	if s.current == nil {
		return
	}
	s.ranges[len(s.ranges)-1].SHA256 = hex.EncodeToString(s.current.Sum(nil))
	s.current = nil
}

// extentDetector returns a function that reports whether a block overlaps an extent. ext
// must be sorted, and the blocks must be asked about in rising order.
func extentDetector(ext []Extent) func([]byte, int64) bool {
	return func(block []byte, off int64) bool {
		for len(ext) > 0 && ext[0].Offset+ext[0].Length <= off {
			ext = ext[1:]
		}
		return len(ext) > 0 && ext[0].Offset < off+int64(len(block))
	}
}

// blocks returns the number of blocks of the image, and how many of them are mapped.
func (m *Map) blocks() (all, mapped int64) {
	for _, r := range m.Ranges {
		mapped += r.Last - r.First + 1
	}
	return (m.Size + BlockSize - 1) / BlockSize, mapped
}

// MappedBytes is how many bytes a flasher writes if it uses the map.
func (m *Map) MappedBytes() int64 {
	_, mapped := m.blocks()
	return min(mapped*BlockSize, m.Size)
}

// WriteTo writes the .bmap file, format 2.0 (bmap-tools, BmapCreate.py). The file's own
// digest is computed with zeros in place of the digest.
func (m *Map) WriteTo(w io.Writer) (int64, error) {
	blank := strings.Repeat("0", sha256.Size*2)
	text := m.text(blank)
	n, err := io.WriteString(w, strings.Replace(text, blank, mapSum([]byte(text), blank), 1))
	return int64(n), err
}

func (m *Map) text(sum string) string {
	var b strings.Builder
	all, mapped := m.blocks()
	fmt.Fprintf(&b, bmapHead, m.Size, BlockSize, all, mapped, sum)
	for _, r := range m.Ranges {
		span := fmt.Sprint(r.First)
		if r.Last > r.First {
			span = fmt.Sprintf("%d-%d", r.First, r.Last)
		}
		fmt.Fprintf(&b, "        <Range chksum=\"%s\"> %s </Range>\n", r.SHA256, span)
	}
	b.WriteString("    </BlockMap>\n</bmap>\n")
	return b.String()
}

const bmapHead = `<?xml version="1.0" ?>
<!-- The blocks of an image that have to be written to a device, for
     "bmaptool copy IMAGE DEVICE". The other blocks may hold anything. -->
<bmap version="2.0">
    <ImageSize> %d </ImageSize>
    <BlockSize> %d </BlockSize>
    <BlocksCount> %d </BlocksCount>
    <MappedBlocksCount> %d </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> %s </BmapFileChecksum>
    <BlockMap>
`
