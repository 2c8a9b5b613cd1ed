package fleet

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// TestMasked plants a secret in every field that can hold one, those that will
// be added to node.yaml included, and finds none in what is shown.
func TestMasked(t *testing.T) {
	var c node.Config
	planted := plant(reflect.ValueOf(&c).Elem())
	c.K3s.Config = map[string]any{"datastore-endpoint": "postgres://u:plantedX@db", "etcd-s3-secret-key": "plantedY", "etcd-s3-config-secret": "plantedZ", "cluster-cidr": "10.42.0.0/16", "secrets-encryption": true}
	if planted < 7 {
		t.Fatalf("%d secrets planted", planted)
	}
	shown, err := node.Marshal(Masked(&c))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(shown), "planted") || strings.Count(string(shown), mask) != planted+3 || !strings.Contains(string(shown), "10.42.0.0/16") || !strings.Contains(string(shown), "secrets-encryption: true") {
		t.Errorf("%d planted, shown:\n%s", planted, shown)
	}
	if all, err := node.Marshal(&c); err != nil || strings.Count(string(all), "planted") != planted+3 {
		t.Errorf("the answer itself was changed: %v", err)
	}
}

// plant sets every secret below v, making what is needed to have one.
func plant(v reflect.Value) (n int) {
	switch {
	case v.Type() == reflect.TypeFor[secret.String]():
		v.SetString(fmt.Sprintf("planted%p", v.Addr().UnsafePointer()))
		return 1
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				n += plant(v.Field(i))
			}
		}
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return plant(v.Elem())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		return plant(v.Index(0))
	case v.Kind() == reflect.Map && v.Type().Elem() == reflect.TypeFor[secret.String]():
		v.Set(reflect.ValueOf(map[string]secret.String{"x": "planted"}).Convert(v.Type()))
		return 1
	}
	return n
}
