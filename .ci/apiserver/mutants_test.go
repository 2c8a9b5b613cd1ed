package apiserver_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/image/objects"
)

// mutant is a document with one mistake.
type mutant struct {
	where string // path of the value, with * for elements of lists
	what  string // was done to it
	text  []byte
}

// mutants makes every mistake of the list wrongs at every place of a document.
func mutants(d document) (all []mutant, err error) {
	add := func(where, what string) {
		text, e := d.text()
		if e != nil {
			err = e
		}
		all = append(all, mutant{where, what, text})
	}
	var walk func(n *yaml.Node, where string)
	walk = func(n *yaml.Node, where string) {
		for what, other := range wrongs(n) {
			before := *n
			*n = other
			add(where, what)
			*n = before
		}
		switch n.Kind {
		case yaml.SequenceNode:
			for _, item := range n.Content {
				walk(item, where+"[*]")
			}
		case yaml.MappingNode:
			for i := 1; i < len(n.Content); i += 2 {
				walk(n.Content[i], where+"."+n.Content[i-1].Value)
			}
		}
	}
	walk(d.node.Content[0], "")
	return all, err
}

// wrongs are what a value can be mistaken for: another type, and, in a mapping,
// one field too many.
func wrongs(n *yaml.Node) map[string]yaml.Node {
	text := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "word"}
	number := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: "3"}
	yes := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"}
	mapping := yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "notAField"}, &text}}
	list := yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{&mapping}}
	switch {
	case n.Kind == yaml.MappingNode:
		more := *n
		more.Content = slices.Concat(n.Content, mapping.Content)
		return map[string]yaml.Node{"a field more": more, "a list": list, "a text": text}
	case n.Kind == yaml.SequenceNode:
		return map[string]yaml.Node{"a mapping": mapping, "a text": text}
	case n.ShortTag() == "!!str":
		return map[string]yaml.Node{"a number": number, "true": yes, "a list": list, "a mapping": mapping}
	case n.ShortTag() == "!!bool":
		return map[string]yaml.Node{"a number": number, "a text": text, "a list": list}
	}
	return map[string]yaml.Node{"a text": text, "true": yes, "a list": list}
}

// difference is where image/objects and the API server judge mutants differently,
// and have a reason to.
type difference struct {
	where, what string // the end of a path, and what is done there; "" is all
	why         string
}

var differences = []difference{
	{".selector.matchLabels", "a field more", "the template must have the selector's labels: another field's business"},
	{".rollingUpdate.maxSurge", "a text", "a number or a text by its type, but the text must be a percentage"},
	{".rollingUpdate.maxUnavailable", "a text", "as maxSurge"},
	{".limits.memory", "a number", "a quantity of 3 bytes, which is less than what is requested"},
	{".limits[*].min.cpu", "a number", "a quantity of 3, which is more than max"},
	{".limits[*].default.cpu", "a number", "as min"},
	{".limits[*].defaultRequest.cpu", "a number", "as min"},
	{".ports[*].port", "a text", "a port may have a name, but not beside endPort"},
	{".resourceFieldRef.divisor", "a number", "a quantity, but not one of those that divide"},
	{".properties.size.default", "", "what the definition's own schema wants of it"},
	{".subresources.status", "a field more", "objects refuses what the API's schema says nothing of"},
}

func (d difference) fits(m mutant) bool {
	return strings.HasSuffix(m.where, d.where) && (d.what == "" || d.what == m.what)
}

// verdicts counts what was judged.
type verdicts struct {
	sync.Mutex
	taken, refused int
	used           map[int]int // differences, by how often
}

// TestMutants: of two and more thousand objects with a mistake image/objects takes
// and refuses those that the API server does, which is asked without effect.
func TestMutants(t *testing.T) {
	docs, err := originals()
	if err != nil {
		t.Fatal(err)
	}
	v := &verdicts{used: map[int]int{}}
	t.Run("of", func(t *testing.T) {
		for name, d := range docs {
			t.Run(strings.ReplaceAll(name, "/", "."), func(t *testing.T) {
				t.Parallel()
				v.judge(t, d)
			})
		}
	})
	t.Logf("%d mutants of %d objects: both took %d, both refused %d; differences by reason: %v", v.taken+v.refused, len(docs), v.taken, v.refused, v.used)
	if v.refused < 2000 || v.taken < 50 {
		t.Error("so few show nothing")
	}
	for i, d := range differences {
		if v.used[i] == 0 {
			t.Errorf("nothing differs any more at %s: %s", d.where, d.why)
		}
	}
}

// originals are what mutants are made of.
func originals() (map[string]document, error) {
	texts, err := seeds()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"testdata/samples.yaml", "../../image/objects/testdata/reference.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		texts[name] = string(data)
	}
	all, err := fullest()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		docs, err := documents(name, []byte(texts[name]))
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			all[d.String()] = d // of several the last: mutants of all would be the same
		}
	}
	return all, nil
}

// judge lets both judge an object and each of its mutants.
func (v *verdicts) judge(t *testing.T, d document) {
	ctx := context.Background()
	path, err := first.path(ctx, d.APIVersion, d.Kind, d.Namespace, d.Name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := d.text()
	if err != nil {
		t.Fatal(err)
	}
	if refused, err := first.apply(ctx, path, text, true); err != nil || refused != "" {
		t.Fatalf("without a mistake: %s %v", refused, err)
	}
	all, err := mutants(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		_, here := objects.Parse("mutant", m.text)
		there, err := first.apply(ctx, path, m.text, true)
		if err != nil {
			t.Fatal(err)
		}
		if why := v.count(d.Kind, m, here != nil, there != ""); why != "" {
			t.Errorf("%s as %s: %s\nobjects: %v\nthe API: %s", m.where, m.what, why, here, there)
		}
	}
}

// count notes one verdict, and returns what is wrong with it.
func (v *verdicts) count(kind string, m mutant, here, there bool) (wrong string) {
	v.Lock()
	defer v.Unlock()
	switch {
	case here && there:
		v.refused++
		return ""
	case !here && !there:
		v.taken++
		return ""
	}
	for i, d := range differences {
		if d.fits(m) {
			v.used[i]++
			return ""
		}
	}
	return fmt.Sprintf("verdicts differ in a %s", kind)
}
