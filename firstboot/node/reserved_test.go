package node

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestEveryFieldIsClassified: a new field of node.yaml must be in the table, with the owner's
// signature required unless there is a reason.
func TestEveryFieldIsClassified(t *testing.T) {
	seen := map[string]bool{}
	eachField(reflect.TypeFor[Config](), "", nil, func(path string, _ []int) {
		seen[path] = true
		if _, ok := unsigned[path]; !ok {
			t.Errorf("%s: may a file without the owner's signature change it? Say so in reserved.go", path)
		}
	})
	for path := range unsigned {
		if !seen[path] {
			t.Errorf("%s: no such field", path)
		}
	}
}

// TestReserved changes one field after the other.
func TestReserved(t *testing.T) {
	eachField(reflect.TypeFor[Config](), "", nil, func(path string, index []int) {
		var old, next Config
		if strings.HasPrefix(path, "control.") {
			old.Control, next.Control = &ControlServer{}, &ControlServer{}
		}
		change(reflect.ValueOf(&next).Elem().FieldByIndex(index))
		got := old.Reserved(&next)
		if free := len(got) == 0; free != unsigned[path] || !free && got[0] != path {
			t.Errorf("%s changed: the owner's are %v", path, got)
		}
	})
	var none, empty Config
	empty.K3s.Labels, empty.Files, empty.K3s.Config = map[string]string{}, []File{}, Settings{}
	if got := none.Reserved(&empty); len(got) > 0 {
		t.Errorf("an empty list counts as a change of %v", got)
	}
}

// TestChangesOfHeadscale: that a node starts or stops running Headscale is one change. On a
// node that runs it, each field is one: some of them can cut off the whole tailnet.
func TestChangesOfHeadscale(t *testing.T) {
	none, one, other := &Config{}, &Config{Control: &ControlServer{}}, &Config{Control: &ControlServer{Cert: "x", Names: Names{Hosts: []string{"a.b"}}}}
	for _, c := range []struct {
		old, next *Config
		want      []string
	}{
		{none, none, nil}, {one, one, nil}, {other, other, nil},
		{none, one, []string{"control"}}, {other, none, []string{"control"}},
		{one, other, []string{"control.cert", "control.names.hosts"}},
	} {
		if got := c.old.Changes(c.next); !slices.Equal(got, c.want) {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}

func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Struct:
		change(v.Field(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k"), reflect.ValueOf("v").Convert(v.Type().Elem()))
	}
}
