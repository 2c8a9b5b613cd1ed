package node

import (
	"reflect"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// Secrets returns every secret of a node.yaml, in no particular order, for code that must make sure
// that none of them gets out.
func (c *Config) Secrets() []secret.String { return secretsIn(reflect.ValueOf(*c)) }

func secretsIn(v reflect.Value) (found []secret.String) {
	switch v.Kind() {
	case reflect.String:
		if v.Type() == reflect.TypeFor[secret.String]() && v.Len() > 0 {
			found = append(found, secret.String(v.String()))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			found = append(found, secretsIn(v.Field(i))...)
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			found = secretsIn(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			found = append(found, secretsIn(v.Index(i))...)
		}
	case reflect.Map:
		for _, item := range v.Seq2() {
			found = append(found, secretsIn(item)...)
		}
	}
	return found
}
