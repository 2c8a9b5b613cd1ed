package strictyaml

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
)

// checker compares a document with the Go type it is decoded into and
// collects what does not fit. Only a document without findings is decoded, so
// yaml's own error texts, which quote values, never come up.
type checker struct {
	name  string
	found Problems
}

func (c *checker) add(line int, field, format string, args ...any) {
	c.found = append(c.found, &Problem{Name: c.name, Line: line, Field: field, Msg: fmt.Sprintf(format, args...)})
}

func (c *checker) decode(n *yaml.Node, into any) {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic("strictyaml: Decode needs a pointer")
	}
	c.value(n, v.Type().Elem(), "")
	if len(c.found) > 0 {
		return
	}
	if err := n.Decode(into); err != nil {
		c.adopt(n, "", err)
	}
}

// plain refuses the parts of YAML that configuration has no need for.
func (c *checker) plain(n *yaml.Node, field string) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		c.add(n.Line, field, "anchors and aliases are not supported: write the value out")
		return
	case n.Style&yaml.TaggedStyle != 0:
		c.add(n.Line, field, "explicit tags (%s) are not supported", n.Tag)
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, item := range n.Content {
			c.plain(item, join(field, n, strconv.Itoa(i)))
		}
	case yaml.MappingNode:
		c.plainMapping(n, field)
	}
}

func (c *checker) plainMapping(n *yaml.Node, field string) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Tag == "!!merge" {
			c.add(k.Line, field, "merge keys (<<) are not supported: write the fields out")
			continue
		}
		if k.Kind != yaml.ScalarNode || k.Style&yaml.TaggedStyle != 0 || k.Anchor != "" {
			c.add(k.Line, field, "a field name is plain text")
			continue
		}
		at := join(field, n, k.Value)
		if line, ok := first[k.Value]; ok {
			c.add(k.Line, at, "is already set on line %d", line)
			continue
		}
		first[k.Value] = k.Line
		c.plain(v, at)
	}
}

var (
	yamlUnmarshaler = reflect.TypeFor[yaml.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	duration        = reflect.TypeFor[time.Duration]()
	timestamp       = reflect.TypeFor[time.Time]()
	yamlNode        = reflect.TypeFor[yaml.Node]()
)

func (c *checker) value(n *yaml.Node, t reflect.Type, field string) {
	if n.Tag == "!!null" {
		c.empty(n, t, field)
		return
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == yamlNode || t.Kind() == reflect.Interface:
	case reflect.PointerTo(t).Implements(yamlUnmarshaler):
		c.trial(n, t, field)
	case t == timestamp || reflect.PointerTo(t).Implements(textUnmarshaler):
		if c.kind(n, yaml.ScalarNode, t, field) {
			c.trial(n, t, field)
		}
	case t.Kind() == reflect.Struct:
		if c.kind(n, yaml.MappingNode, t, field) {
			c.structure(n, t, field)
		}
	case t.Kind() == reflect.Map:
		if c.kind(n, yaml.MappingNode, t, field) {
			c.mapping(n, t, field)
		}
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		if c.kind(n, yaml.SequenceNode, t, field) {
			c.list(n, t, field)
		}
	default:
		c.scalar(n, t, field)
	}
}

// empty refuses a key without a value where the mere presence of the key means something, such as
// "longhorn:" followed by a comment: yaml.v3 would drop it silently. For numbers, text and lists a
// missing value is the same as a missing key.
func (c *checker) empty(n *yaml.Node, t reflect.Type, field string) {
	of := t
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	own := reflect.PointerTo(of).Implements(yamlUnmarshaler) // may not accept {}
	switch {
	case isMapping(of) && !own:
		c.add(n.Line, field, "is empty: write {} for its defaults, or leave it out")
	case isMapping(of) || t.Kind() == reflect.Pointer && of != yamlNode:
		c.add(n.Line, field, "is empty: write a value, or leave it out")
	}
}

// isMapping reports whether a person would see a type as a mapping. A date is none, nor is a type
// that unmarshals itself from text.
func isMapping(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || t == yamlNode {
		return t.Kind() == reflect.Map
	}
	fields, rest := fieldsOf(t)
	return len(fields.names) > 0 || rest != nil
}

func (c *checker) kind(n *yaml.Node, want yaml.Kind, t reflect.Type, field string) bool {
	if n.Kind == want {
		return true
	}
	c.add(n.Line, field, "want %s, have %s", wanted(t), have(n))
	return false
}

func (c *checker) list(n *yaml.Node, t reflect.Type, field string) {
	if t.Kind() == reflect.Array && len(n.Content) != t.Len() {
		c.add(n.Line, field, "want %d entries, have %d", t.Len(), len(n.Content))
		return
	}
	for i, item := range n.Content {
		c.value(item, t.Elem(), join(field, n, strconv.Itoa(i)))
	}
}

func (c *checker) mapping(n *yaml.Node, t reflect.Type, field string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := join(field, n, k.Value)
		c.value(k, t.Key(), at)
		c.entry(v, t.Elem(), at)
	}
}

// entry checks a value under a name that a person has chosen. A struct may be empty there: the name
// alone says something, for example that a site exists.
func (c *checker) entry(n *yaml.Node, t reflect.Type, field string) {
	if n.Tag == "!!null" && t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(yamlUnmarshaler) {
		return
	}
	c.value(n, t, field)
}

func (c *checker) structure(n *yaml.Node, t reflect.Type, field string) {
	fields, rest := fieldsOf(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := join(field, n, k.Value)
		ft, ok := fields.types[k.Value]
		switch {
		case ok:
			c.value(v, ft, at)
		case rest != nil:
			c.entry(v, rest.Elem(), at)
		default:
			c.unknown(k, at, fields.names)
		}
	}
}

func (c *checker) unknown(k *yaml.Node, field string, known []string) {
	if near := nearest.Name(k.Value, known); near != "" {
		c.add(k.Line, field, "unknown (did you mean %q?)", near)
		return
	}
	c.add(k.Line, field, "unknown (known here: %s)", strings.Join(known, ", "))
}

// scalar checks numbers, booleans and text. Whole numbers are checked by their tag, because yaml.v3
// silently truncates 1.5 to 1.
func (c *checker) scalar(n *yaml.Node, t reflect.Type, field string) {
	if !c.kind(n, yaml.ScalarNode, t, field) {
		return
	}
	if t != duration && isInteger(t) && n.ShortTag() != "!!int" {
		c.add(n.Line, field, "want %s, have %s", wanted(t), have(n))
		return
	}
	if err := n.Decode(reflect.New(t).Interface()); err != nil {
		c.add(n.Line, field, "want %s", wanted(t))
	}
}

// trial calls a type's own unmarshaler to see whether it returns an error.
func (c *checker) trial(n *yaml.Node, t reflect.Type, field string) {
	if err := n.Decode(reflect.New(t).Interface()); err != nil {
		c.adopt(n, field, err)
	}
}

// adopt records the error of an unmarshaler. If the unmarshaler has used DecodeNode, its errors
// have better line numbers.
func (c *checker) adopt(n *yaml.Node, field string, err error) {
	var inner Problems
	var typeErr *yaml.TypeError
	switch {
	case errors.As(err, &inner):
		for _, p := range inner {
			c.add(p.Line, joinFields(field, p.Field), "%s", p.Msg)
		}
	case errors.As(err, &typeErr):
		c.add(n.Line, field, "has the wrong type, have %s", have(n))
	default:
		msg := err.Error() // many unmarshalers lead with their own "line 3: "
		c.add(n.Line, field, "%s", strings.TrimPrefix(msg, yamlLine.FindString(msg)))
	}
}

func joinFields(outer, inner string) string {
	if outer == "" || inner == "" || strings.HasPrefix(inner, "[") {
		return outer + inner
	}
	return outer + "." + inner
}

func isInteger(t reflect.Type) bool {
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Uintptr
}
