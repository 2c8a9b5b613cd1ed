// Package deb822 reads Debian's control files, deb822(5): paragraphs of fields that may continue
// over several lines, with names in any case.
//
// It is a leaf, and interprets no field but Source. It refuses lines that are neither field nor
// continuation, and fields that occur twice.
package deb822

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Paragraph holds fields by their lower-case names. Continuation lines follow after a newline,
// without their leading space.
type Paragraph map[string]string

// Parse reads one paragraph.
func Parse(text string) (Paragraph, error) {
	p := Paragraph{}
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			if name == "" {
				return nil, errors.New("continuation of no field")
			}
			continue // fill adds it to its field
		}
		var ok bool
		if name, _, ok = strings.Cut(line, ":"); !ok || !isName(name) {
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

// isName reports what deb822(5) allows as a field's name: printable ASCII.
func isName[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) > 0
}

// fill sets the values. Most fields have one line; their values are slices of the text. Only
// continued ones are copied.
func (p Paragraph) fill(text string) {
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

// All reads every paragraph of a file.
func All(text string) ([]Paragraph, error) {
	var all []Paragraph
	for r := NewReader(strings.NewReader(text), nil); ; {
		b, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		p, err := Parse(string(b))
		if err != nil {
			return all, fmt.Errorf("paragraph before line %d: %w", r.Line, err)
		}
		all = append(all, p)
	}
}

// Field returns the value of one field of a paragraph unchanged, "" if there is no such field.
func Field[T string | []byte](paragraph T, name string) T {
	for len(paragraph) > 0 {
		end := fieldEnd(paragraph)
		if len(name) < end && paragraph[len(name)] == ':' && strings.EqualFold(string(paragraph[:len(name)]), name) {
			return trim(paragraph[len(name)+1 : end])
		}
		paragraph = paragraph[end:]
	}
	return paragraph
}

func trim[T string | []byte](s T) T {
	const space = " \t\r\n"
	for len(s) > 0 && strings.IndexByte(space, s[0]) >= 0 {
		s = s[1:]
	}
	for len(s) > 0 && strings.IndexByte(space, s[len(s)-1]) >= 0 {
		s = s[:len(s)-1]
	}
	return s
}

// Source parses the field Source of a binary package, and returns the source package's name and
// version. The field is absent if both are the binary's own; it has the version in parentheses if
// that differs, deb-control(5).
func Source(field, name, version string) (string, string) {
	source, rest, ok := strings.Cut(field, "(")
	if source = strings.TrimSpace(source); source == "" {
		source = name
	}
	if !ok {
		return source, version
	}
	return source, strings.TrimSpace(strings.TrimSuffix(rest, ")"))
}

// fieldEnd returns the offset of the end of the first field of text.
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

func shorten(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}
