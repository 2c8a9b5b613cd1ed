package fleet

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

var update = flag.Bool("update", false, "write schema.json")

// TestSchema: the embedded schema is what types and comments say today.
func TestSchema(t *testing.T) {
	s := schemaMaker{t, comments(t, ".", "../../firstboot/node")}
	root := s.of(reflect.TypeFor[Fleet]())
	root["$schema"], root["title"] = "https://json-schema.org/draft/2020-12/schema", "imagebuilder fleet.yaml"
	root["required"] = []string{"version", "cluster", "sites", "nodes"}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("schema.json", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("schema.json")
	if err != nil || !bytes.Equal(have, b.Bytes()) {
		t.Errorf("schema.json is old (%v); run: go test ./image/fleet -run TestSchema -update", err)
	}
}

// TestSchemaJudges: an editor and this package agree on what is no fleet.
func TestSchemaJudges(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("fleet.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("fleet.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"", ""}, {"keyExpiry: 14d", "keyexpiry: 14d"}, {"14d", "soon"}, {"{env: HEADSCALE_API_KEY}", "hskey-api-x"},
		{"{env: HEADSCALE_API_KEY}", "{env: A, file: b}"}, {"role: server", "role: sever"}, {"lan: [192", "lan: [{}, 192"}, {"lan: [192", "page: of, lan: [192"}, {"version: 1", "version: 2"},
	} {
		text := strings.Replace(elsewhere(), change[0], change[1], 1)
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		_, ours := Load("fleet.yaml", []byte(text), known)
		theirs := schema.Validate(value)
		if (ours == nil) != (theirs == nil) || (ours == nil) != (change[0] == "") {
			t.Errorf("%q: Load says %v, the schema %v", change[1], ours, theirs)
		}
	}
}

// schemaMaker turns types into schemas.
type schemaMaker struct {
	t    *testing.T
	docs map[string]string
}

type object = map[string]any

// words are the types whose form reflection cannot see.
var words = map[reflect.Type]object{
	reflect.TypeFor[Duration](): {"type": "string", "pattern": "^[0-9]+[hdw]$"},
	reflect.TypeFor[Roles](): {"anyOf": []object{
		{"enum": []node.Role{node.Server, node.Agent, node.Witness, node.Control}},
		{"type": "array", "items": object{"enum": []node.Role{node.Witness, node.Control}}, "minItems": 1, "maxItems": 2, "uniqueItems": true}}},
	reflect.TypeFor[node.Mode](): {"type": []string{"integer", "string"}, "pattern": "^(0o)?[0-7]{1,4}$"},
	reflect.TypeFor[node.Disk](): {"anyOf": []object{
		{"type": "string", "pattern": "^/dev/disk/by-id/"},
		{"type": "object", "additionalProperties": false, "minProperties": 1, "properties": object{
			"path":  object{"type": "string", "pattern": "^/dev/disk/by-id/", "description": "Its name below /dev/disk/by-id."},
			"model": object{"type": "string", "description": "Shell pattern of what the disk calls itself."},
			"size":  object{"type": "string", "description": "Such as 500GB, or a bound such as \">=400GB\"."}}}}},
	reflect.TypeFor[node.Page](): {"enum": []node.Page{node.PageOn, node.PageOff}},
	reflect.TypeFor[Ref](): {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false, "properties": object{
		"env":  object{"type": "string", "description": "Name of an environment variable."},
		"file": object{"type": "string", "description": "File, relative to fleet.yaml."},
		"age":  object{"type": "string", "description": "File encrypted with age."}}},
}

func (s schemaMaker) of(t reflect.Type) object {
	if w, ok := words[t]; ok {
		out := object{}
		for k, v := range w {
			out[k] = v
		}
		return out
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[Nodes]() {
			return s.of(reflect.TypeFor[map[string]Node]())
		}
		return s.object(t)
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Interface:
		return object{}
	}
	return object{"type": "string"}
}

func (s schemaMaker) object(t reflect.Type) object {
	fields := object{}
	for f := range structFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		of := s.of(f.Type)
		words := s.docs[t.Name()+"."+f.Name]
		if words == "" {
			s.t.Errorf("%s.%s has no comment, and an editor nothing to say of it", t.Name(), f.Name)
		}
		if rest, ok := strings.CutPrefix(words, f.Name+" "); ok { // the name that the file has, not Go's
			words = name + " " + rest
		}
		of["description"] = words
		if t == reflect.TypeFor[Fleet]() && name == "version" {
			of["const"] = Version
		}
		fields[name] = of
	}
	return object{"type": "object", "additionalProperties": false, "properties": fields}
}

func structFields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

// comments returns those of all struct fields, by Type.Field.
func comments(t *testing.T, dirs ...string) map[string]string {
	out := map[string]string{}
	for i := len(dirs) - 1; i >= 0; i-- { // the first has the last word
		names, err := filepath.Glob(filepath.Join(dirs[i], "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				ts, ok := n.(*ast.TypeSpec)
				if !ok {
					return true
				}
				if st, ok := ts.Type.(*ast.StructType); ok {
					for _, field := range st.Fields.List {
						for _, id := range field.Names {
							out[ts.Name.Name+"."+id.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
						}
					}
				}
				return true
			})
		}
	}
	return out
}
