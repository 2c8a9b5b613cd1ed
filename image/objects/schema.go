package objects

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

//go:embed schemas/*.json
var files embed.FS

// documents are the schema files by their base names.
var documents = sync.OnceValue(func() map[string]map[string]any {
	names, err := files.ReadDir("schemas")
	if err != nil {
		panic(err) // impossible, as the files are embedded
	}
	all := map[string]map[string]any{}
	for _, n := range names {
		data, err := files.ReadFile(path.Join("schemas", n.Name()))
		if err != nil {
			panic(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			panic(fmt.Sprintf("%s: %v", n.Name(), err))
		}
		all[n.Name()] = doc.(map[string]any)
	}
	return all
})

// kinds maps apiVersion/Kind to the schema's URL.
var kinds = sync.OnceValue(func() map[string]string {
	all := map[string]string{}
	for file, doc := range documents() {
		for kind, name := range doc["x-kinds"].(map[string]any) {
			all[kind] = file + "#/$defs/" + name.(string)
		}
	}
	return all
})

// compiler compiles schemas on demand, as each kind takes a few milliseconds, and caches
// them. Hold its mutex while using it.
var compiler = struct {
	sync.Mutex
	*jsonschema.Compiler
}{}

// schemaOf returns nil for an unknown kind.
func schemaOf(kind string) (*jsonschema.Schema, error) {
	at, ok := kinds()[kind]
	if !ok {
		return nil, nil
	}
	compiler.Lock()
	defer compiler.Unlock()
	if compiler.Compiler == nil {
		compiler.Compiler = jsonschema.NewCompiler()
		for file, doc := range documents() {
			if err := compiler.AddResource(file, doc); err != nil {
				return nil, err
			}
		}
	}
	return compiler.Compile(at)
}

// refuse turns a schema's errors into findings.
func refuse(found *strictyaml.Findings, err error) {
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return
	}
	if len(v.Causes) > 0 {
		for _, c := range v.Causes {
			refuse(found, c)
		}
		return
	}
	at := v.InstanceLocation
	switch k := v.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			found.Refuse(append(slices.Clone(at), name), "is no such field%s", suggest(name, fields(v.SchemaURL)))
		}
	case *kind.Required:
		found.Refuse(at, "lacks %s", strings.Join(k.Missing, ", "))
	case *kind.Type:
		found.Refuse(at, "want %s, have %s%s", strings.Join(words(k.Want), " or "), word(k.Got), quoteIt(k))
	case *kind.Enum:
		found.Refuse(at, "want one of %v", slices.DeleteFunc(slices.Clone(k.Want), func(v any) bool { return v == nil }))
	case *kind.Pattern:
		found.Refuse(at, "does not match %s", k.Want)
	default:
		found.Refuse(at, "is not what the API takes (%s)", strings.Join(k.KeywordPath(), "."))
	}
}

// quoteIt gives a hint if a number or boolean is in the place of a string.
func quoteIt(k *kind.Type) string {
	if slices.Contains(k.Want, "string") && (k.Got == "number" || k.Got == "boolean") {
		return ": quote it"
	}
	return ""
}

// words are JSON's types in the terms of people who write YAML.
func words(types []string) []string {
	var all []string
	for _, t := range types {
		if t != "null" {
			all = append(all, word(t))
		}
	}
	return all
}

func word(t string) string {
	switch t {
	case "string":
		return "text"
	case "integer":
		return "a whole number"
	case "number":
		return "a number"
	case "boolean":
		return "true or false"
	case "object":
		return "a mapping"
	case "array":
		return "a list"
	case "null":
		return "nothing"
	}
	return t
}

// fields are the properties of the schema at a URL.
func fields(at string) []string {
	file, pointer, _ := strings.Cut(at, "#/")
	var here any = documents()[path.Base(file)]
	for part := range strings.SplitSeq(pointer, "/") {
		part, _ = url.PathUnescape(part)
		object, _ := here.(map[string]any)
		here = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	object, _ := here.(map[string]any)
	properties, _ := object["properties"].(map[string]any)
	return slices.Sorted(maps.Keys(properties))
}
