package kmod

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// object is a relocatable ELF file. Like libkmod/libkmod-elf.c it is read by section names,
// in either word size and byte order.
type object struct {
	data     []byte
	order    binary.ByteOrder
	wide     bool // 64-bit
	sections map[string][]byte
}

// elfLayout has the parts of the ELF format (elf(5)) that differ between word sizes:
// offsets and sizes of fields, in bytes.
type elfLayout struct {
	header                            int // size of the file header
	shoff, shentsize, shnum, shstrndx int
	shdr                              int // size of a section header
	shOffset, shSize                  int
	sym                               int // size of a symbol
	symShndx                          int
	word                              int
	version                           int // offset of the name in a __versions entry
}

var (
	elf32 = elfLayout{52, 32, 46, 48, 50, 40, 16, 20, 16, 14, 4, 4}
	elf64 = elfLayout{64, 40, 58, 60, 62, 64, 24, 32, 24, 6, 8, 8}
)

const (
	shtNobits    = 8
	versionEntry = 64 // struct modversion_info, CRC and name together
)

func (o *object) layout() elfLayout {
	if o.wide {
		return elf64
	}
	return elf32
}

// parseObject finds the sections of an ELF file.
func parseObject(data []byte) (*object, error) {
	o := &object{data: data}
	if len(data) < 16 || string(data[:4]) != "\x7fELF" {
		return nil, fmt.Errorf("%w: no ELF file", errNoModule)
	}
	o.wide = data[4] == 2
	switch {
	case data[4] != 1 && data[4] != 2:
		return nil, fmt.Errorf("%w: ELF class %d", errNoModule, data[4])
	case data[5] == 1:
		o.order = binary.LittleEndian
	case data[5] == 2:
		o.order = binary.BigEndian
	default:
		return nil, fmt.Errorf("%w: ELF byte order %d", errNoModule, data[5])
	}
	return o, o.readSections()
}

func (o *object) readSections() error {
	l := o.layout()
	if len(o.data) < l.header {
		return fmt.Errorf("%w: truncated ELF header", errNoModule)
	}
	off := o.word(o.data[l.shoff:])
	count := int(o.order.Uint16(o.data[l.shnum:]))
	names := int(o.order.Uint16(o.data[l.shstrndx:]))
	if int(o.order.Uint16(o.data[l.shentsize:])) != l.shdr || names >= count {
		return fmt.Errorf("%w: bad section headers", errNoModule)
	}
	table, ok := o.slice(off, uint64(count)*uint64(l.shdr))
	if !ok {
		return fmt.Errorf("%w: section headers lie outside the file", errNoModule)
	}
	strtab, ok := o.section(table[names*l.shdr:])
	if !ok {
		return fmt.Errorf("%w: section names lie outside the file", errNoModule)
	}
	o.sections = map[string][]byte{}
	for i := 1; i < count; i++ {
		h := table[i*l.shdr:]
		name, ok := cString(strtab, uint64(o.order.Uint32(h)))
		body, inside := o.section(h)
		if !ok || !inside {
			continue // skip sections outside the file, as libkmod does
		}
		if _, have := o.sections[name]; !have {
			o.sections[name] = body
		}
	}
	return nil
}

// section returns the content of the section with header h.
func (o *object) section(h []byte) ([]byte, bool) {
	l := o.layout()
	if o.order.Uint32(h[4:]) == shtNobits {
		return nil, false
	}
	return o.slice(o.word(h[l.shOffset:]), o.word(h[l.shSize:]))
}

func (o *object) slice(off, size uint64) ([]byte, bool) {
	if off > uint64(len(o.data)) || size > uint64(len(o.data))-off {
		return nil, false
	}
	return o.data[off : off+size], true
}

func (o *object) word(b []byte) uint64 {
	if o.wide {
		return o.order.Uint64(b)
	}
	return uint64(o.order.Uint32(b))
}

// cString returns the NUL-terminated string at off of b.
func cString(b []byte, off uint64) (string, bool) {
	if off >= uint64(len(b)) {
		return "", false
	}
	n := bytes.IndexByte(b[off:], 0)
	if n < 0 {
		return "", false
	}
	return string(b[off : off+uint64(n)]), true
}

// cStrings splits a section of NUL-terminated strings; several NULs in a row are padding.
func cStrings(b []byte) []string {
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == 0 })
}

// symbol is an entry of .symtab.
type symbol struct {
	name      string
	undefined bool
}

// crcPrefix is the prefix of the symbols that hold the version of an exported symbol.
const crcPrefix = "__crc_"

// symbols returns the entries of .symtab that matter for dependencies: undefined symbols
// and those with crcPrefix.
func (o *object) symbols() ([]symbol, error) {
	l := o.layout()
	table, names := o.sections[".symtab"], o.sections[".strtab"]
	if table == nil || names == nil || len(table)%l.sym != 0 {
		return nil, fmt.Errorf("%w: no symbol table", errNoModule)
	}
	var list []symbol
	for i := l.sym; i < len(table); i += l.sym {
		entry := table[i : i+l.sym]
		at, undefined := uint64(o.order.Uint32(entry)), o.order.Uint16(entry[l.symShndx:]) == 0
		if at >= uint64(len(names)) {
			return nil, fmt.Errorf("%w: symbol %d has no name", errNoModule, i/l.sym)
		}
		if !undefined && !bytes.HasPrefix(names[at:], []byte(crcPrefix)) {
			continue
		}
		name, ok := cString(names, at)
		if !ok {
			return nil, fmt.Errorf("%w: name of symbol %d does not end", errNoModule, i/l.sym)
		}
		list = append(list, symbol{name, undefined})
	}
	return list, nil
}

// exports returns the symbols that the module exports: those with a CRC or, if the kernel
// has no symbol versions, the names in its export table.
func (o *object) exports(symbols []symbol) []string {
	var names []string
	for _, s := range symbols {
		if name, ok := strings.CutPrefix(s.name, crcPrefix); ok {
			names = append(names, name)
		}
	}
	if names == nil {
		names = cStrings(o.sections["__ksymtab_strings"])
	}
	return names
}

// needs returns the symbols that the module imports: undefined symbols in the order of the
// symbol table, then those that are only in __versions. This order determines the order in
// which depmod lists dependencies.
func (o *object) needs(symbols []symbol) []string {
	versions := o.versions()
	first := map[string]int{}
	for i, v := range versions {
		if _, ok := first[v]; !ok {
			first[v] = i
		}
	}
	seen := make([]bool, len(versions))
	var names []string
	for _, s := range symbols {
		if !s.undefined || s.name == "" {
			continue
		}
		names = append(names, s.name)
		if i, ok := first[s.name]; ok {
			seen[i] = true
		}
	}
	for i, v := range versions {
		if !seen[i] {
			names = append(names, v)
		}
	}
	return names
}

// versions returns the names in __versions.
func (o *object) versions() []string {
	table := o.sections["__versions"]
	if len(table)%versionEntry != 0 {
		return nil
	}
	var names []string
	for ; len(table) > 0; table = table[versionEntry:] {
		if name, ok := cString(table[:versionEntry], uint64(o.layout().version)); ok {
			names = append(names, name)
		}
	}
	return names
}
