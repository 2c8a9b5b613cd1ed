// Package strictyaml decodes one YAML document into a Go value and tells a
// person exactly what is wrong with it: file, line, field, and the name that
// was probably meant.
//
// It refuses what configuration does not need and readers trip over: unknown
// and repeated fields, several documents in one file, anchors, aliases and
// merge keys. It never repeats a value in an error, as values may be secrets.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxSize is the largest document accepted, in bytes. Every file read by this
// package is written by hand.
const maxSize = 1 << 20

// Problem is one thing that is wrong with a document.
type Problem struct {
	Name  string // the file, as the caller named it
	Line  int    // from 1; 0 where none applies
	Field string // "k3s.servers[2]"; empty where none applies
	Msg   string
}

func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Name)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Field != "" {
		fmt.Fprintf(&b, "field %q: ", p.Field)
	}
	b.WriteString(p.Msg)
	return b.String()
}

// Problems are all findings of one document, in the order of its lines.
type Problems []*Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Decode decodes data, the content of a file, into the struct or map that into points to. Errors
// call the file name. A field that is absent, or a number, text or list without a value, keeps its
// present value. The error is a Problems.
func Decode(name string, data []byte, into any) error {
	d, err := Parse(name, data)
	if err != nil {
		return err
	}
	return d.Decode(into)
}

// Document is a parsed file. A loader keeps it if it may later have to say on which line a wrong
// value stands; see Errorf.
type Document struct {
	name string
	line int // the line where it begins
	root *yaml.Node
}

// Parse checks everything about a document that does not depend on what it is
// decoded into.
func Parse(name string, data []byte) (*Document, error) {
	all, err := ParseAll(name, data)
	if err != nil {
		return nil, err
	}
	if len(all) > 1 {
		return nil, Problems{{Name: name, Line: all[1].line, Msg: "a second document begins here; keep one per file"}}
	}
	if all[0].root.Tag == "!!null" {
		return nil, Problems{{Name: name, Msg: "is empty"}}
	}
	return all[0], nil
}

// ParseAll is Parse for a file of one or more documents. A document without content, such as a
// comment between two "---", is returned too, and is Empty.
func ParseAll(name string, data []byte) ([]*Document, error) {
	data, err := plainText(data)
	if err != nil {
		return nil, Problems{{Name: name, Msg: err.Error()}}
	}
	var all []*Document
	c := checker{name: name}
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) && len(all) > 0 {
			return all, c.err()
		}
		if err != nil {
			return nil, Problems{syntaxProblem(name, data, err)}
		}
		c.plain(doc.Content[0], "")
		all = append(all, &Document{name: name, line: doc.Line, root: doc.Content[0]})
	}
}

// Empty reports whether the document has no content.
func (d *Document) Empty() bool { return d.root.Tag == "!!null" }

// Value returns the document in the types that encoding/json decodes into. It refuses values that
// YAML 1.1, which Kubernetes reads, takes for something else than YAML 1.2 does (yes, no, on, off),
// and dates, which are text to Kubernetes.
func (d *Document) Value() (any, error) {
	c := checker{name: d.name}
	v := c.json(d.root, "")
	return v, c.err()
}

// Decode is the function Decode for a parsed document.
func (d *Document) Decode(into any) error {
	c := checker{name: d.name}
	c.decode(d.root, into)
	return c.err()
}

// DecodeNode is Decode for part of a document, for use in UnmarshalYAML
// methods, where yaml's own Node.Decode would accept unknown fields.
func DecodeNode(n *yaml.Node, into any) error {
	c := checker{}
	c.decode(n, into)
	return c.err()
}

// Errorf returns a *Problem about the field at path, whose elements are keys
// and, for lists, indexes in decimal. Where the document does not have the
// whole path, the line is that of the deepest part it has.
func (d *Document) Errorf(path []string, format string, args ...any) error {
	return d.problem(path, format, args...)
}

func (d *Document) problem(path []string, format string, args ...any) *Problem {
	n, field := d.root, ""
	line := n.Line
	for _, key := range path {
		field = join(field, n, key)
		k, v := child(n, key)
		if v == nil {
			n = &yaml.Node{}
			continue
		}
		n, line = v, k.Line
	}
	return &Problem{Name: d.name, Line: line, Field: field, Msg: fmt.Sprintf(format, args...)}
}

// Findings collects everything that is wrong with the values of a document, so that a person can
// mend the file in one go.
type Findings struct {
	doc   *Document
	found Problems
}

// Findings returns an empty collection.
func (d *Document) Findings() *Findings { return &Findings{doc: d} }

// Refuse adds a finding about the field at path; see Errorf.
func (f *Findings) Refuse(path []string, format string, args ...any) {
	f.found = append(f.found, f.doc.problem(path, format, args...))
}

// Err returns the findings sorted by line, nil if there are none.
func (f *Findings) Err() error {
	c := checker{found: f.found}
	return c.err()
}

// child returns the node that carries the line of a key or list entry, and its value; nil if n has
// no such child.
func child(n *yaml.Node, key string) (at, value *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return n.Content[i], n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
	}
	return nil, nil
}

func join(field string, parent *yaml.Node, key string) string {
	switch {
	case parent.Kind == yaml.SequenceNode:
		return field + "[" + key + "]"
	case field == "":
		return key
	}
	return field + "." + key
}

var utf8BOM = []byte("\xef\xbb\xbf")

// plainText removes what Windows editors add to text, and refuses what is not text.
func plainText(data []byte) ([]byte, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("is %d bytes long, the limit is %d: this is no configuration file", len(data), maxSize)
	}
	data = bytes.TrimPrefix(data, utf8BOM)
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("is empty")
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, errors.New("is UTF-16: save it as UTF-8")
	}
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, errors.New("is not UTF-8 text")
	}
	return bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// syntaxProblem turns the parser's "yaml: line 3: did not find …" into ours.
func syntaxProblem(name string, data []byte, err error) *Problem {
	if errors.Is(err, io.EOF) {
		return &Problem{Name: name, Msg: "is empty"}
	}
	msg := err.Error()
	m := yamlLine.FindStringSubmatch(msg)
	line, _ := strconv.Atoi(m[1])
	msg = strings.TrimPrefix(msg, m[0])
	switch {
	case strings.HasPrefix(msg, "did not find expected"):
		line = brokenLine(data, line)
	case strings.Contains(msg, "cannot start any token"):
		msg += " (a tab used for indentation?)"
	}
	return &Problem{Name: name, Line: line, Msg: msg}
}

// brokenLine returns the line after the longest run of leading lines that is valid YAML by itself.
// yaml.v3's parser names the line before the one where the enclosing mapping began, which for a
// slip in a top-level field is always 1. For a document too long to be tried line by line,
// brokenLine returns reported, the parser's line.
func brokenLine(data []byte, reported int) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines) > 1000 || len(data) > 64<<10 {
		return reported
	}
	end, good := 0, 0
	for i, line := range lines {
		end += len(line)
		if parses(data[:end]) {
			good = i + 1
		}
	}
	return good + 1
}

func parses(data []byte) bool {
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var n yaml.Node
		if err := dec.Decode(&n); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// err returns the findings sorted by line, nil if there are none.
func (c *checker) err() error {
	if len(c.found) == 0 {
		return nil
	}
	slices.SortStableFunc(c.found, func(a, b *Problem) int { return a.Line - b.Line })
	return c.found
}
