package node

import (
	"reflect"
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
