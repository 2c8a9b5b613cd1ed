package strictyaml

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// fieldSet is the set of fields that a struct accepts: their types by name, and the sorted names.
type fieldSet struct {
	types map[string]reflect.Type
	names []string
}

// fieldsOf returns the fields of a struct by their YAML names, including those of inlined structs,
// and the type of an inlined map, which takes all other fields.
func fieldsOf(t reflect.Type) (fieldSet, reflect.Type) {
	set := fieldSet{types: map[string]reflect.Type{}}
	var rest reflect.Type
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if slices.Contains(strings.Split(options, ","), "inline") {
			rest = set.inline(f.Type, rest)
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name) // yaml.v3's rule
		}
		set.add(name, f.Type)
	}
	slices.Sort(set.names)
	return set, rest
}

func (s *fieldSet) add(name string, t reflect.Type) {
	s.types[name] = t
	s.names = append(s.names, name)
}

func (s *fieldSet) inline(t, rest reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Map {
		return t
	}
	inner, innerRest := fieldsOf(t)
	for _, name := range inner.names {
		s.add(name, inner.types[name])
	}
	if innerRest != nil {
		return innerRest
	}
	return rest
}

// wanted describes a type to somebody who writes YAML.
func wanted(t reflect.Type) string {
	if t == duration {
		return "a duration such as 90s or 2h"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int8, reflect.Int16, reflect.Int32:
		most := int64(1)<<(t.Bits()-1) - 1
		return fmt.Sprintf("a whole number from %d to %d", -most-1, most)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
	case reflect.Uint, reflect.Uint64, reflect.Uintptr:
		return "a whole number, not negative"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return `a mapping ("name: value" lines)`
	}
	return "text"
}

// have describes what stands in the document, without its value.
func have(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	}
	switch n.ShortTag() {
	case "!!int":
		return "a whole number"
	case "!!float":
		return "a number with a fraction"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	}
	return "text"
}
