package apt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds one line of a control file. Debian's longest are Provides
// fields of some 30 KiB.
const maxLine = 1 << 20

// stanzaReader cuts a control file into paragraphs and drops the fields that
// nobody here reads, which halves an index.
type stanzaReader struct {
	r    *bufio.Reader
	buf  []byte
	line int
	keep func(name []byte) bool // name is lower-case
}

func newStanzaReader(r io.Reader, keep func(name []byte) bool) *stanzaReader {
	return &stanzaReader{r: bufio.NewReaderSize(r, maxLine), keep: keep}
}

// next returns the kept lines of the next paragraph, valid until the next
// call, or io.EOF.
func (s *stanzaReader) next() ([]byte, error) {
	s.buf = s.buf[:0]
	seen, keeping := false, false
	for {
		line, err := s.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("line %d: longer than %d bytes", s.line+1, maxLine)
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		s.line++
		blank := len(bytes.TrimRight(line, " \t\r\n")) == 0
		switch {
		case blank && seen:
			return s.buf, nil
		case blank && err == io.EOF:
			return nil, io.EOF
		case blank:
			continue
		case line[0] != ' ' && line[0] != '\t':
			if keeping, err = s.keepsField(line, err); err != nil {
				return nil, err
			}
		case !seen:
			return nil, fmt.Errorf("line %d: continuation of no field", s.line)
		}
		seen = true
		if keeping {
			s.buf = append(append(s.buf, bytes.TrimRight(line, "\r\n")...), '\n')
		}
	}
}

// keepsField judges a line that begins a field. The end of the file passes
// through: the next read reports it again.
func (s *stanzaReader) keepsField(line []byte, err error) (bool, error) {
	name, _, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
		return false, fmt.Errorf("line %d: %q is not a field", s.line, shorten(string(bytes.TrimSpace(line))))
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

// paragraph is the fields of one stanza by lower-case name. Continuation lines
// follow after a newline, without their leading space.
type paragraph map[string]string

func parseParagraph(text string) (paragraph, error) {
	p := paragraph{}
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			if name == "" {
				return nil, errors.New("continuation of no field")
			}
			continue // gathered with its field
		}
		var ok bool
		if name, _, ok = strings.Cut(line, ":"); !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("%q is not a field", shorten(line))
		}
		name = strings.ToLower(name)
		if _, dup := p[name]; dup {
			return nil, fmt.Errorf("field %s occurs twice", name)
		}
		p[name] = ""
	}
	p.fill(text)
	return p, nil
}

// fill sets the values. Most fields have one line, so they are slices of the
// text; only continued ones are copied.
func (p paragraph) fill(text string) {
	for text != "" {
		end := fieldEnd(text)
		name, value, _ := strings.Cut(text[:end], ":")
		text = text[end:]
		if strings.Contains(strings.TrimRight(value, "\r\n"), "\n") {
			value = unfold(value)
		}
		p[strings.ToLower(name)] = strings.TrimSpace(value)
	}
}

// fieldEnd is the offset behind the field that text begins with.
func fieldEnd[T string | []byte](text T) int {
	for i := range len(text) {
		if text[i] == '\n' && (i+1 == len(text) || text[i+1] != ' ' && text[i+1] != '\t') {
			return i + 1
		}
	}
	return len(text)
}

func unfold(value string) string {
	var b strings.Builder
	for line := range strings.Lines(value) {
		b.WriteString(strings.TrimSpace(line))
		b.WriteByte('\n')
	}
	return b.String()
}
