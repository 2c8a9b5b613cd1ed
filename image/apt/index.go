package apt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sort"

	"github.com/going-mobile/imagebuilder/firstboot/deb822"
)

// An index is a Packages file in a form that opens in a millisecond: the stanzas as text,
// then tables of names sorted for binary search, then a footer. A stanza is parsed only
// when it is asked for, as a build needs a few hundred of 70,000 packages.
//
//	stanzas   text, only the fields of keptField
//	packages  20 bytes each, sorted by name: where the name, where the stanza
//	provides  12 bytes each, sorted by name: where the name, which package
//	names     text
//	footer    32 bytes
//
// Numbers are little-endian. Stanzas and tables carry a CRC-32C, which detects disk errors.
// It does not protect against an attacker who can write into the cache.
const (
	indexMagic   = "IBapt\x00\x01\n"
	packageSize  = 20
	provideSize  = 12
	footerSize   = 32
	indexVersion = "v1" // part of the cache key: change it with the format
)

const flagEssential = 1

var crcTable = crc32.MakeTable(crc32.Castagnoli)

type packageRecord struct {
	name          string
	flags         uint16
	off, len, crc uint32
}

type provideRecord struct {
	name string
	pkg  uint32 // position in the sorted packages
}

// writeIndex turns a Packages file into an index.
func writeIndex(w io.Writer, packages io.Reader) error {
	var b indexBuilder
	s := deb822.NewReader(packages, keptField)
	for {
		stanza, err := s.Next()
		if err == io.EOF {
			return b.finish(w)
		}
		if err != nil {
			return err
		}
		if err := b.add(stanza); err != nil {
			return fmt.Errorf("paragraph before line %d: %w", s.Line, err)
		}
		if _, err := w.Write(stanza); err != nil {
			return err
		}
	}
}

type indexBuilder struct {
	off      uint64
	packages []packageRecord
	provides []provideRecord // until finish, pkg is the position in order of appearance
}

func (b *indexBuilder) add(stanza []byte) error {
	name := string(deb822.Field(stanza, "Package"))
	if !validName(name) || len(name) > 1000 {
		return fmt.Errorf("%q is not a package name", shorten(name))
	}
	if b.off+uint64(len(stanza)) > 1<<32-1 {
		return errors.New("index is longer than 4 GiB")
	}
	rec := packageRecord{name: name, off: uint32(b.off), len: uint32(len(stanza)), crc: crc32.Checksum(stanza, crcTable)}
	if string(deb822.Field(stanza, "Essential")) == "yes" {
		rec.flags |= flagEssential
	}
	for _, v := range bytes.Split(deb822.Field(stanza, "Provides"), []byte(",")) {
		if v, _, _ := bytes.Cut(bytes.TrimSpace(v), []byte(" ")); len(v) > 0 && len(v) <= 1000 {
			b.provides = append(b.provides, provideRecord{string(providedName(v)), uint32(len(b.packages))})
		}
	}
	b.packages = append(b.packages, rec)
	b.off += uint64(len(stanza))
	return nil
}

// providedName cuts off a version or an architecture that follows the name without a space.
func providedName(v []byte) []byte {
	if i := bytes.IndexAny(v, "(:"); i >= 0 {
		return v[:i]
	}
	return v
}

// finish writes the tables.
func (b *indexBuilder) finish(w io.Writer) error {
	b.sort()
	var names, tables []byte
	for _, p := range b.packages {
		tables = appendName(tables, &names, p.name, p.flags)
		tables = binary.LittleEndian.AppendUint32(tables, p.off)
		tables = binary.LittleEndian.AppendUint32(tables, p.len)
		tables = binary.LittleEndian.AppendUint32(tables, p.crc)
	}
	for _, p := range b.provides {
		tables = appendName(tables, &names, p.name, 0)
		tables = binary.LittleEndian.AppendUint32(tables, p.pkg)
	}
	tables = append(tables, names...)
	_, err := w.Write(appendFooter(tables, b.off, uint32(len(b.packages)), uint32(len(b.provides))))
	return err
}

func appendFooter(tables []byte, off uint64, packages, provides uint32) []byte {
	footer := []byte(indexMagic)
	footer = binary.LittleEndian.AppendUint64(footer, off)
	footer = binary.LittleEndian.AppendUint32(footer, packages)
	footer = binary.LittleEndian.AppendUint32(footer, provides)
	footer = binary.LittleEndian.AppendUint32(footer, crc32.Checksum(tables, crcTable))
	footer = binary.LittleEndian.AppendUint32(footer, crc32.Checksum(footer, crcTable))
	return append(tables, footer...)
}

func appendName(to []byte, names *[]byte, name string, flags uint16) []byte {
	to = binary.LittleEndian.AppendUint32(to, uint32(len(*names)))
	to = binary.LittleEndian.AppendUint16(to, uint16(len(name)))
	*names = append(*names, name...)
	return binary.LittleEndian.AppendUint16(to, flags)
}

// sort orders both tables by name and updates the positions in provides.
func (b *indexBuilder) sort() {
	order := make([]uint32, len(b.packages))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortStableFunc(order, func(x, y uint32) int { return cmp.Compare(b.packages[x].name, b.packages[y].name) })
	sorted := make([]packageRecord, len(order))
	position := make([]uint32, len(order))
	for to, from := range order {
		sorted[to] = b.packages[from]
		position[from] = uint32(to)
	}
	b.packages = sorted
	for i := range b.provides {
		b.provides[i].pkg = position[b.provides[i].pkg]
	}
	slices.SortFunc(b.provides, func(x, y provideRecord) int {
		return cmp.Or(cmp.Compare(x.name, y.name), cmp.Compare(x.pkg, y.pkg))
	})
	b.provides = slices.Compact(b.provides)
}

// index is an open index.
type index struct {
	f                         io.ReaderAt
	packages, provides, names []byte
}

// openIndex reads the tables. An error means that the file is damaged.
func openIndex(f *os.File) (*index, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return readIndex(f, fi.Size())
}

func readIndex(f io.ReaderAt, size int64) (*index, error) {
	footer := make([]byte, footerSize)
	if _, err := f.ReadAt(footer, size-footerSize); err != nil || size < footerSize {
		return nil, errors.New("index is too short")
	}
	le := binary.LittleEndian
	if string(footer[:8]) != indexMagic || crc32.Checksum(footer[:28], crcTable) != le.Uint32(footer[28:]) {
		return nil, errors.New("index has no valid footer")
	}
	off := int64(le.Uint64(footer[8:]))
	np, nv := int64(le.Uint32(footer[16:])), int64(le.Uint32(footer[20:]))
	if off < 0 || off+np*packageSize+nv*provideSize > size-footerSize {
		return nil, errors.New("index has impossible tables")
	}
	tables := make([]byte, size-footerSize-off)
	if _, err := f.ReadAt(tables, off); err != nil {
		return nil, err
	}
	if crc32.Checksum(tables, crcTable) != le.Uint32(footer[24:]) {
		return nil, errors.New("index tables are damaged")
	}
	p, v := np*packageSize, np*packageSize+nv*provideSize
	ix := &index{f: f, packages: tables[:p], provides: tables[p:v], names: tables[v:]}
	return ix, ix.checkBounds(off)
}

// checkBounds keeps a table that another version of this code wrote from causing a panic
// later. It takes about a millisecond.
func (ix *index) checkBounds(text int64) error {
	le := binary.LittleEndian
	named := func(rec []byte) bool {
		return int64(le.Uint32(rec))+int64(le.Uint16(rec[4:])) <= int64(len(ix.names))
	}
	for rec := range slices.Chunk(ix.packages, packageSize) {
		if !named(rec) || int64(le.Uint32(rec[8:]))+int64(le.Uint32(rec[12:])) > text {
			return errors.New("index has a package out of bounds")
		}
	}
	for rec := range slices.Chunk(ix.provides, provideSize) {
		if !named(rec) || int64(le.Uint32(rec[8:])) >= int64(ix.len()) {
			return errors.New("index has a provision out of bounds")
		}
	}
	return nil
}

func (ix *index) len() int { return len(ix.packages) / packageSize }

// name returns the name that a record begins with.
func (ix *index) name(rec []byte) []byte {
	off, n := binary.LittleEndian.Uint32(rec), binary.LittleEndian.Uint16(rec[4:])
	return ix.names[off : off+uint32(n)]
}

// find returns the range of records with a name in a sorted table.
func (ix *index) find(table []byte, size int, name string) (from, to int) {
	n := len(table) / size
	at := func(i int) string { return string(ix.name(table[i*size:])) }
	from = sort.Search(n, func(i int) bool { return at(i) >= name })
	for to = from; to < n && at(to) == name; to++ {
	}
	return from, to
}

// named returns the positions of the packages with a name.
func (ix *index) named(name string) []int {
	var out []int
	for from, to := ix.find(ix.packages, packageSize, name); from < to; from++ {
		out = append(out, from)
	}
	return out
}

// providers returns the positions of the packages that provide a name.
func (ix *index) providers(name string) []int {
	var out []int
	for from, to := ix.find(ix.provides, provideSize, name); from < to; from++ {
		out = append(out, int(binary.LittleEndian.Uint32(ix.provides[from*provideSize+8:])))
	}
	return out
}

// essential returns the names of the packages marked Essential, each once.
func (ix *index) essential() []string {
	var out []string
	for i := range ix.len() {
		rec := ix.packages[i*packageSize:]
		if binary.LittleEndian.Uint16(rec[6:])&flagEssential != 0 {
			out = append(out, string(ix.name(rec)))
		}
	}
	return slices.Compact(out)
}

// stanza reads the text of one package.
func (ix *index) stanza(i int) (string, error) {
	rec := ix.packages[i*packageSize:]
	text := make([]byte, binary.LittleEndian.Uint32(rec[12:]))
	if _, err := ix.f.ReadAt(text, int64(binary.LittleEndian.Uint32(rec[8:]))); err != nil {
		return "", err
	}
	if crc32.Checksum(text, crcTable) != binary.LittleEndian.Uint32(rec[16:]) {
		return "", fmt.Errorf("stanza of %s is damaged", ix.name(rec))
	}
	return string(text), nil
}
