package fleet

import (
	"reflect"
	"regexp"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// mask replaces a secret in a node.yaml that is shown.
const mask = "(secret)"

// Masked returns a copy of a node's configuration that may be shown: every secret in it is
// replaced by a placeholder.
func Masked(c *node.Config) *node.Config {
	out := maskValue(reflect.ValueOf(*c)).Interface().(node.Config)
	for name := range out.K3s.Config {
		if secretFlag.MatchString(name) {
			out.K3s.Config[name] = mask
		}
	}
	return &out
}

// secretFlag matches the k3s flags whose value is a credential (k3s 1.36, pkg/cli/cmds). The
// address of a data store contains its password. secrets-encryption and
// secrets-encryption-provider are not credentials and do not match.
var secretFlag = regexp.MustCompile(`secret\b|token|password|endpoint|access-key|auth`)

// maskValue copies v with its secrets masked. The copy shares parts that cannot hold a
// secret.
func maskValue(v reflect.Value) reflect.Value {
	if v.Type() == reflect.TypeFor[secret.String]() {
		if v.Len() == 0 {
			return v
		}
		return reflect.ValueOf(secret.String(mask))
	}
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			out.Field(i).Set(maskValue(v.Field(i)))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(maskValue(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				out.Index(i).Set(maskValue(v.Index(i)))
			}
		}
	case reflect.Map:
		if !v.IsNil() {
			out.Set(reflect.MakeMap(v.Type()))
			for k, item := range v.Seq2() {
				out.SetMapIndex(k, maskValue(item))
			}
		}
	}
	return out
}
