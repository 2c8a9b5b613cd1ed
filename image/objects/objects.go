// Package objects reads Kubernetes objects from YAML and checks them as a strict API server
// would without its state: kinds, fields, types. Kubernetes itself silently drops unknown
// fields, also those that a custom resource does not define.
//
// It knows the kinds of Kubernetes 1.36, k3s' helm-controller, Longhorn and Argo CD that a
// fleet uses (see schemas/README.md), and refuses others, as it could not check them. It
// does not know what an admission webhook would say.
package objects

import (
	"errors"
	"maps"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Object is a Kubernetes object, with its identity.
type Object struct {
	APIVersion, Kind, Namespace, Name string
	// Value is the whole object, as decoded JSON.
	Value map[string]any
}

// Parse returns the objects of a file of YAML documents, without empty documents. The error
// is a strictyaml.Problems with all problems, by line and field, but without values, which
// may be secrets.
func Parse(name string, data []byte) ([]Object, error) {
	docs, err := strictyaml.ParseAll(name, data)
	if err != nil {
		return nil, err
	}
	var all []Object
	var problems strictyaml.Problems
	for _, d := range docs {
		if d.Empty() {
			continue
		}
		o, err := parse(d)
		var wrong strictyaml.Problems
		if errors.As(err, &wrong) {
			problems = append(problems, wrong...)
		} else if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return all, nil
}

func parse(d *strictyaml.Document) (Object, error) {
	value, err := d.Value()
	if err != nil {
		return Object{}, err
	}
	found := d.Findings()
	o, ok := identify(value)
	if !ok {
		found.Refuse(nil, "is no Kubernetes object: want apiVersion, kind and metadata.name")
		return o, found.Err()
	}
	kind := o.APIVersion + "/" + o.Kind
	schema, err := schemaOf(kind)
	if err != nil {
		return o, err
	}
	if schema == nil {
		found.Refuse([]string{"kind"}, "%s is not known here%s", kind, suggest(kind, slices.Sorted(maps.Keys(kinds()))))
		return o, found.Err()
	}
	refuse(found, schema.Validate(value))
	return o, found.Err()
}

// identify reads the fields that every object has.
func identify(value any) (o Object, ok bool) {
	o.Value, _ = value.(map[string]any)
	meta, _ := o.Value["metadata"].(map[string]any)
	o.APIVersion, _ = o.Value["apiVersion"].(string)
	o.Kind, _ = o.Value["kind"].(string)
	o.Name, _ = meta["name"].(string)
	o.Namespace, _ = meta["namespace"].(string)
	return o, o.APIVersion != "" && o.Kind != "" && o.Name != ""
}

// suggest is the end of an error about an unknown name.
func suggest(name string, known []string) string {
	if near := nearest.Name(name, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}
