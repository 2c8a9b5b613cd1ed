package handover

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// TestEveryRuleIsAboutAField: a rule about what no node calls a change of its would guard
// nothing.
func TestEveryRuleIsAboutAField(t *testing.T) {
	paths := everyChange()
	rules := slices.Collect(maps.Keys(forCards))
	for _, f := range slices.Concat(cuts, halves) {
		rules = append(rules, f.name)
	}
	for _, rule := range rules {
		if !slices.ContainsFunc(paths, func(path string) bool { return len(of([]field{{rule, ""}}, path)) > 0 }) {
			t.Errorf("%s: none of %s", rule, strings.Join(paths, " "))
		}
	}
}

// everyChange lists the fields whose change a node may report.
func everyChange() []string {
	var none, full node.Config
	fill(reflect.ValueOf(&full).Elem())
	return append(none.Changes(&full), (&node.Config{Control: &node.ControlServer{}}).Changes(&full)...)
}

// fill gives every field a value that is not its zero value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k"), reflect.ValueOf("v").Convert(v.Type().Elem()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}
