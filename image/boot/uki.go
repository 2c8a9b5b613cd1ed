package boot

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/going-mobile/imagebuilder/image/authenticode"
)

// Section is one PE section of a unified kernel image.
type Section struct {
	// Name is at most eight bytes: ".osrel", ".cmdline", ".linux" …
	Name string
	Data []byte
}

// Offsets in a PE32+ file (Microsoft's "PE Format"). Those of the optional header are
// relative to its beginning.
const (
	peOffsetField   = 0x3c
	coffSections    = 2
	coffSymbols     = 8
	coffOptSize     = 16
	coffHeaderSize  = 20
	optInitSize     = 8
	optSectionAlign = 32
	optFileAlign    = 36
	optImageSize    = 56
	optHeadersSize  = 60
	optChecksum     = 64
	optFixedSize    = 112
	sectionSize     = 40

	flagCode = 0x00000020
	flagData = 0x00000040
	flagRead = 0x40000000
)

// UKI appends sections to systemd's EFI stub and returns the result (UAPI.5, "Unified
// Kernel Image"). Sections keep their order; ".linux" must be last, because it takes more
// space in memory than in the file.
func UKI(stub []byte, sections []Section) ([]byte, error) {
	pe, err := parsePE(stub)
	if err != nil {
		return nil, fmt.Errorf("systemd's EFI stub: %w", err)
	}
	out := pe.bare(stub)
	for _, s := range sections {
		if out, err = pe.append(out, s); err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	pe.seal(out)
	return out, nil
}

// peFile is the layout of a PE file while sections are appended.
type peFile struct {
	coff, opt, table       int // offsets in the file
	count                  int // sections so far
	sectionAlign, fileAlgn uint64
	headersEnd             int
	nextVMA                uint64
	end                    uint64 // of the last section's data in the file
	added                  uint64 // bytes of initialized data
}

var errNotPE = errors.New("not a PE32+ file")

func parsePE(b []byte) (*peFile, error) {
	le := binary.LittleEndian
	if len(b) < peOffsetField+4 || string(b[:2]) != "MZ" {
		return nil, errNotPE
	}
	sig := int64(le.Uint32(b[peOffsetField:]))
	if sig+4+coffHeaderSize+optFixedSize > int64(len(b)) || string(b[sig:sig+4]) != "PE\x00\x00" {
		return nil, errNotPE
	}
	p := &peFile{coff: int(sig) + 4}
	p.opt = p.coff + coffHeaderSize
	optSize := int(le.Uint16(b[p.coff+coffOptSize:]))
	p.table = p.opt + optSize
	p.count = int(le.Uint16(b[p.coff+coffSections:]))
	if le.Uint16(b[p.opt:]) != 0x20b || optSize < optFixedSize || p.table+p.count*sectionSize > len(b) {
		return nil, errNotPE
	}
	p.sectionAlign = uint64(le.Uint32(b[p.opt+optSectionAlign:]))
	p.fileAlgn = uint64(le.Uint32(b[p.opt+optFileAlign:]))
	p.headersEnd = int(le.Uint32(b[p.opt+optHeadersSize:]))
	// The spec says "a power of 2 between 512 and 64 K"; some kernels have had less than
	// 512.
	if !powerOfTwo(p.sectionAlign) || !powerOfTwo(p.fileAlgn) || p.fileAlgn > 64<<10 || p.headersEnd > len(b) || p.headersEnd < p.table+p.count*sectionSize {
		return nil, errNotPE
	}
	for i := range p.count {
		s := b[p.table+i*sectionSize:]
		p.nextVMA = max(p.nextVMA, roundUp(uint64(le.Uint32(s[12:]))+uint64(le.Uint32(s[8:])), p.sectionAlign))
		p.end = max(p.end, uint64(le.Uint32(s[20:]))+uint64(le.Uint32(s[16:])))
	}
	return p, nil
}

// bare returns a copy without what follows the sections: a symbol table, which systemd 252
// leaves there. If it ended up between sections, it would break signatures, because
// firmware hashes the file section by section.
func (p *peFile) bare(b []byte) []byte {
	out := append([]byte(nil), b[:min(max(p.end, uint64(p.headersEnd)), uint64(len(b)))]...)
	clear(out[p.coff+coffSymbols : p.coff+coffSymbols+8]) // offset and number of the symbols
	return out
}

// append appends one section.
func (p *peFile) append(out []byte, s Section) ([]byte, error) {
	entry := p.table + p.count*sectionSize
	switch {
	case len(s.Name) > 8:
		return nil, errors.New("the name is longer than eight bytes")
	case len(s.Data) == 0:
		return nil, errors.New("it is empty")
	case entry+sectionSize > p.headersEnd:
		return nil, fmt.Errorf("the headers have no room for more than %d sections", p.count)
	}
	size := virtualSize(s)
	if p.nextVMA+size > 1<<32 || uint64(len(out))+size > 1<<32 {
		return nil, errors.New("the file would be larger than 4 GiB")
	}
	out = pad(out, p.fileAlgn)
	raw := len(out)
	out = pad(append(out, s.Data...), p.fileAlgn)
	le := binary.LittleEndian
	h := out[entry : entry+sectionSize]
	clear(h)
	copy(h, s.Name)
	le.PutUint32(h[8:], uint32(size))
	le.PutUint32(h[12:], uint32(p.nextVMA))
	le.PutUint32(h[16:], uint32(len(out)-raw))
	le.PutUint32(h[20:], uint32(raw))
	le.PutUint32(h[36:], sectionFlags(s.Name))
	p.count++
	p.nextVMA = roundUp(p.nextVMA+size, p.sectionAlign)
	p.added += uint64(len(out) - raw)
	return out, nil
}

// sectionFlags marks .linux as code, as ukify does, because older kernels are executed in
// place.
func sectionFlags(name string) uint32 {
	if name == ".linux" {
		return flagCode | flagRead
	}
	return flagData | flagRead
}

// virtualSize is the length of the data. For a kernel it is the memory that the kernel
// needs when it runs, which its own header states and which is more than the file's length.
func virtualSize(s Section) uint64 {
	size := uint64(len(s.Data))
	if s.Name != ".linux" {
		return size
	}
	if p, err := parsePE(s.Data); err == nil {
		size = max(size, uint64(binary.LittleEndian.Uint32(s.Data[p.opt+optImageSize:])))
	}
	return size
}

// seal updates the totals and the checksum in the headers.
func (p *peFile) seal(out []byte) {
	le := binary.LittleEndian
	le.PutUint16(out[p.coff+coffSections:], uint16(p.count))
	le.PutUint32(out[p.opt+optImageSize:], uint32(p.nextVMA))
	le.PutUint32(out[p.opt+optInitSize:], le.Uint32(out[p.opt+optInitSize:])+uint32(p.added))
	le.PutUint32(out[p.opt+optChecksum:], authenticode.Checksum(out, p.opt+optChecksum))
}

func powerOfTwo(n uint64) bool { return n != 0 && n&(n-1) == 0 }

func roundUp(n, unit uint64) uint64 { return (n + unit - 1) &^ (unit - 1) }

func pad(b []byte, unit uint64) []byte {
	return append(b, make([]byte, roundUp(uint64(len(b)), unit)-uint64(len(b)))...)
}
