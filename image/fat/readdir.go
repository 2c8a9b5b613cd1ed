package fat

import (
	"strings"
	"time"
	"unicode/utf16"
)

// entry is one parsed directory entry.
type entry struct {
	name    string
	short   short
	dir     bool
	first   uint32
	size    int64
	modTime time.Time
	offset  int64
}

// dirParser assembles long names that span several entries, even across the runs of a
// directory.
type dirParser struct {
	out  []*entry
	long longName
}

// longName is a long name that is being collected, last part first.
type longName struct {
	units []uint16
	left  int // the number of the part read last; 1 means complete
	sum   byte
	valid bool
}

// parse adds the entries in b, which is at offset off of the volume. It returns true at the
// end mark. If a long name is broken, the short name is used, as in other implementations.
func (d *dirParser) parse(b []byte, off int64) (end bool) {
	for ; len(b) >= dirEntrySize; b, off = b[dirEntrySize:], off+dirEntrySize {
		e := b[:dirEntrySize]
		switch {
		case e[0] == entryEnd:
			return true
		case e[0] == entryFree:
			d.long = longName{}
		case e[11]&attrMask == attrLongName:
			d.long.add(e)
		case e[11]&attrVolume != 0 || e[0] == '.':
			d.long = longName{}
		default:
			d.out = append(d.out, d.decode(e, off))
			d.long = longName{}
		}
	}
	return false
}

func (l *longName) add(e []byte) {
	n := int(e[0] &^ lastLong)
	if e[0]&lastLong != 0 {
		*l = longName{left: n + 1, sum: e[13], valid: n >= 1 && n <= 20}
	}
	if !l.valid || n != l.left-1 || e[13] != l.sum || n < 1 {
		*l = longName{}
		return
	}
	l.left = n
	part := make([]uint16, unitsPerEntry, unitsPerEntry+len(l.units))
	for i, off := range longOffsets {
		part[i] = le.Uint16(e[off:])
	}
	l.units = append(part, l.units...)
}

// name returns the collected name if it is complete and belongs to the short name s.
func (l *longName) name(s short) (string, bool) {
	if !l.valid || l.left != 1 || l.sum != s.checksum() {
		return "", false
	}
	units := l.units
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	name := string(utf16.Decode(units))
	return name, len(units) <= maxNameUnits && saneName(name)
}

// saneName refuses names that would mean something else in a path.
func saneName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

func (d *dirParser) decode(e []byte, off int64) *entry {
	var s short
	copy(s[:], e[:11])
	name, ok := d.long.name(s)
	if !ok {
		name = shortName(s, e[12])
	}
	return &entry{
		name:    name,
		short:   s,
		dir:     e[11]&attrDir != 0,
		first:   (uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:]))) & fatMask,
		size:    int64(le.Uint32(e[28:])),
		modTime: goTime(le.Uint16(e[24:]), le.Uint16(e[22:])),
		offset:  off,
	}
}

// shortName renders an 8.3 name with its case flags. Bytes beyond ASCII are in a code page
// that is recorded nowhere; they, and characters that cannot be in a path, become
// underscores.
func shortName(s short, flags byte) string {
	if s[0] == kanjiE5 {
		s[0] = entryFree
	}
	for i, c := range s {
		lower := i < 8 && flags&lowerBase != 0 || i >= 8 && flags&lowerExt != 0
		switch {
		case c < 0x20 || c > 0x7e || c == '/' || c == '.':
			s[i] = '_'
		case lower && c >= 'A' && c <= 'Z':
			s[i] = c + 'a' - 'A'
		}
	}
	if name := s.String(); saneName(name) {
		return name
	}
	return "_"
}
