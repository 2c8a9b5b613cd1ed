package deb

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arMaxMembers = 64
)

// member is one file of an ar archive: size bytes at offset off.
type member struct {
	name      string
	off, size int64
}

// readMembers lists the members of the ar archive r, which is size bytes long, in the
// common format of ar(5) that deb(5) requires: no long names, no symbol table. Every byte
// of the file must belong to a member.
func readMembers(r io.ReaderAt, size int64) ([]member, error) {
	magic := make([]byte, len(arMagic))
	if err := readFull(r, magic, 0); err != nil || string(magic) != arMagic {
		return nil, errors.New("not a Debian package: no ar archive")
	}
	var members []member
	for off := int64(len(arMagic)); off < size; {
		m, err := readMember(r, off, size)
		if err != nil {
			return nil, err
		}
		if members = append(members, m); len(members) > arMaxMembers {
			return nil, fmt.Errorf("ar: more than %d members", arMaxMembers)
		}
		// Members start at even offsets. The padding byte after the last one may be
		// missing: not every tool writes it.
		off = m.off + m.size + m.size%2
	}
	return members, nil
}

func readMember(r io.ReaderAt, off, size int64) (member, error) {
	h := make([]byte, arHeaderSize)
	if err := readFull(r, h, off); err != nil {
		return member{}, fmt.Errorf("ar: truncated header at byte %d", off)
	}
	if string(h[58:]) != "`\n" {
		return member{}, fmt.Errorf("ar: no member header at byte %d", off)
	}
	name := strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
	if name == "" || strings.ContainsAny(name, "/\x00\n #") {
		return member{}, fmt.Errorf("ar: bad member name %q at byte %d", name, off)
	}
	n, err := strconv.ParseUint(strings.TrimRight(string(h[48:58]), " "), 10, 63)
	if err != nil {
		return member{}, fmt.Errorf("ar: member %s: bad size %q", name, h[48:58])
	}
	m := member{name: name, off: off + arHeaderSize, size: int64(n)}
	if m.size > size-m.off {
		return member{}, fmt.Errorf("ar: member %s is truncated: %d of %d bytes", name, size-m.off, m.size)
	}
	return m, nil
}

// parts are the members of a package that matter.
type parts struct{ control, data member }

// findParts checks the members and their order according to deb(5): debian-binary,
// control.tar, data.tar. Names that begin with an underscore are ignored between them, and
// so is everything after data.tar.
func findParts(r io.ReaderAt, members []member) (parts, error) {
	var required []member
	for i, m := range members {
		if i == 0 || !strings.HasPrefix(m.name, "_") {
			required = append(required, m)
		}
	}
	if len(required) < 3 {
		return parts{}, errors.New("not a Debian package: debian-binary, control.tar and data.tar expected")
	}
	if err := checkFormat(r, required[0]); err != nil {
		return parts{}, err
	}
	p := parts{control: required[1], data: required[2]}
	if !strings.HasPrefix(p.control.name, "control.tar") {
		return parts{}, fmt.Errorf("member %s where control.tar is expected", p.control.name)
	}
	if !strings.HasPrefix(p.data.name, "data.tar") {
		return parts{}, fmt.Errorf("member %s where data.tar is expected", p.data.name)
	}
	return p, nil
}

// checkFormat accepts format 2 with any minor number.
func checkFormat(r io.ReaderAt, m member) error {
	if m.name != "debian-binary" {
		return fmt.Errorf("not a Debian package: first member is %s, not debian-binary", m.name)
	}
	b := make([]byte, min(m.size, 64))
	if err := readFull(r, b, m.off); err != nil {
		return fmt.Errorf("debian-binary: %w", err)
	}
	version, _, _ := strings.Cut(string(b), "\n")
	if !strings.HasPrefix(version, "2.") {
		return fmt.Errorf("debian-binary: format version %q, only 2.x can be read", version)
	}
	return nil
}

// readFull fills b from offset off. It accepts io.EOF together with the last byte of the
// file, which an io.ReaderAt may return.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
