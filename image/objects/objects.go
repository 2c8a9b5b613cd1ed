// Package objects reads Kubernetes objects from YAML and checks them as a strict API server
// would without its state: kinds, fields, types. Kubernetes itself silently drops unknown
// fields, also those that a custom resource does not define.
//
// It knows the kinds of Kubernetes 1.36, k3s' helm-controller, Longhorn and Argo CD that a
// fleet uses (see schemas/README.md), and refuses others (Parse), or reports that it could not
// check them (Sift). It does not know what an admission webhook would say.
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
	all, others, err := Sift(name, data)
	var wrong strictyaml.Problems
	if err != nil && !errors.As(err, &wrong) {
		return nil, err
	}
	problems := slices.Concat(others, wrong)
	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(a, b *strictyaml.Problem) int { return a.Line - b.Line })
		return nil, problems
	}
	return all, nil
}

// Sift is Parse for what others write, too: a document of a kind that is not known here,
// or that is no Kubernetes object, as Helm's values, is left out and told of in others.
func Sift(name string, data []byte) (all []Object, others strictyaml.Problems, err error) {
	docs, err := strictyaml.ParseAll(name, data)
	if err != nil {
		return nil, nil, err
	}
	var problems strictyaml.Problems
	for _, d := range docs {
		if d.Empty() {
			continue
		}
		o, known, err := parse(d)
		var wrong strictyaml.Problems
		switch {
		case err == nil:
			all = append(all, o)
		case !errors.As(err, &wrong):
			return nil, nil, err
		case known:
			problems = append(problems, wrong...)
		default:
			others = append(others, wrong...)
		}
	}
	if len(problems) > 0 {
		return nil, others, problems
	}
	return all, others, nil
}

// parse says, too, whether the kind is one that is known here.
func parse(d *strictyaml.Document) (o Object, known bool, err error) {
	value, err := d.Value()
	o, named := identify(value)
	found := d.Findings()
	if o.APIVersion == "" || o.Kind == "" {
		found.Refuse(nil, noObject)
		return o, false, found.Err()
	}
	kind := o.APIVersion + "/" + o.Kind
	schema, fault := schemaOf(kind)
	switch {
	case fault != nil:
		return o, false, fault
	case schema == nil:
		found.Refuse([]string{"kind"}, "%s is not known here%s", kind, suggest(kind, slices.Sorted(maps.Keys(kinds()))))
		return o, false, found.Err()
	case err != nil:
		return o, true, err
	case !named:
		found.Refuse(nil, noObject)
	default:
		refuse(found, schema.Validate(value))
	}
	return o, true, found.Err()
}

const noObject = "is no Kubernetes object: want apiVersion, kind and metadata.name"

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
