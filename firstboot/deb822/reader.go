package deb822

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds one line of a control file. Debian's longest are Provides
// fields of some 30 KiB.
const maxLine = 1 << 20

// Reader cuts a control file into paragraphs. It drops comments, and the fields that its caller
// does not want.
type Reader struct {
	Line int // the last line that was read
	r    *bufio.Reader
	buf  []byte
	keep func(name []byte) bool
}

// NewReader returns a reader that keeps the fields for whose lower-case names keep is true, or all
// if keep is nil.
func NewReader(r io.Reader, keep func(name []byte) bool) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, maxLine), keep: keep}
}

// Next returns the kept lines of the next paragraph, which are valid until the next call, or
// io.EOF.
func (s *Reader) Next() ([]byte, error) {
	s.buf = s.buf[:0]
	seen, keeping := false, false
	for {
		line, err := s.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("line %d: longer than %d bytes", s.Line+1, maxLine)
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		s.Line++
		blank := len(bytes.TrimRight(line, " \t\r\n")) == 0
		switch {
		case blank && seen:
			return s.buf, nil
		case blank && err == io.EOF:
			return nil, io.EOF
		case blank, line[0] == '#':
			continue
		case line[0] != ' ' && line[0] != '\t':
			if keeping, err = s.keepsField(line, err); err != nil {
				return nil, err
			}
		case !seen:
			return nil, fmt.Errorf("line %d: continuation of no field", s.Line)
		}
		seen = true
		if keeping {
			s.buf = append(append(s.buf, bytes.TrimRight(line, "\r\n")...), '\n')
		}
	}
}

// keepsField reports whether to keep the field that a line begins. It ignores an end of file in
// err: the next read reports it again.
func (s *Reader) keepsField(line []byte, err error) (bool, error) {
	name, _, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isName(name) {
		return false, fmt.Errorf("line %d: %q is not a field", s.Line, shorten(string(bytes.TrimSpace(line))))
	}
	var lower [40]byte
	if s.keep == nil || len(name) > len(lower) {
		return s.keep == nil, nil
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return s.keep(lower[:len(name)]), nil
}
