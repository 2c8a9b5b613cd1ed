package apiserver_test

import (
	"fmt"

	"gopkg.in/yaml.v3"
)

// fullest are custom resources with every field that their definitions have, one
// of each kind, by their names.
func fullest() (map[string]document, error) {
	all, err := definitions()
	if err != nil {
		return nil, err
	}
	out := map[string]document{}
	for _, d := range all {
		spec := d.Value["spec"].(object)
		version := spec["versions"].([]any)[0].(object)
		o, _ := fill(version["schema"].(object)["openAPIV3Schema"].(object)).(object)
		kind := spec["names"].(object)["kind"].(string)
		o["apiVersion"], o["kind"] = fmt.Sprintf("%s/%s", spec["group"], version["name"]), kind
		o["metadata"] = object{"name": "full", "namespace": sampleSpace, "labels": object{"a": "b"}}
		text, err := yaml.Marshal(o)
		if err != nil {
			return nil, err
		}
		docs, err := documents("full "+kind, text)
		if err != nil {
			return nil, err
		}
		out[docs[0].String()] = docs[0]
	}
	return out, nil
}

// fill makes a value that a structural schema takes.
func fill(schema object) any {
	if values, ok := schema["enum"].([]any); ok {
		return values[len(values)-1] // the first may be empty
	}
	if schema["x-kubernetes-int-or-string"] == true {
		return 1
	}
	switch schema["type"] {
	case "object":
		return fillObject(schema)
	case "array":
		return []any{fill(schema["items"].(object))}
	case "integer", "number":
		if least, ok := schema["minimum"]; ok {
			return least
		}
		return 1
	case "boolean":
		return true
	}
	if schema["format"] == "date-time" {
		return "2026-11-29T12:00:00Z"
	}
	return "text"
}

func fillObject(schema object) any {
	o := object{}
	properties, _ := schema["properties"].(object)
	for name, p := range properties {
		o[name] = fill(p.(object))
	}
	if values, ok := schema["additionalProperties"].(object); ok {
		o["key"] = fill(values)
	}
	return o
}
