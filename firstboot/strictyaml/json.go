package strictyaml

import (
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// json converts a checked node to the types that encoding/json decodes into.
func (c *checker) json(n *yaml.Node, field string) any {
	switch n.Kind {
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = c.json(item, join(field, n, strconv.Itoa(i)))
		}
		return list
	case yaml.MappingNode:
		object := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			object[k.Value] = c.json(n.Content[i+1], join(field, n, k.Value))
		}
		return object
	}
	return c.jsonScalar(n, field)
}

// old are the words that YAML 1.1 takes for true and false.
var old = []string{"y", "n", "yes", "no", "on", "off"}

func (c *checker) jsonScalar(n *yaml.Node, field string) (v any) {
	tag := n.ShortTag()
	switch {
	case tag == "!!timestamp":
		c.add(n.Line, field, "is a date to some readers and text to others: quote it")
	case tag == "!!str" && n.Style == 0 && slices.Contains(old, strings.ToLower(n.Value)):
		c.add(n.Line, field, "is true or false to some readers and text to others: quote it, or write true or false")
	case tag == "!!str" || tag == "!!binary":
		return n.Value
	default:
		if err := n.Decode(&v); err != nil {
			c.adopt(n, field, err)
		}
	}
	return v
}
