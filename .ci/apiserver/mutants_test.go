package apiserver_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/image/objects"
)

// mutant is a document with one mistake.
type mutant struct {
	where  string // path of the value, with * for elements of lists
	change        // what was done to it
	node   *yaml.Node
}

// change puts another value in the place of one.
type change struct {
	what  string
	other yaml.Node
}

// text is the document with the mistake, which is gone from it afterwards.
func (m mutant) text(d document) ([]byte, error) {
	before := *m.node
	*m.node = m.other
	defer func() { *m.node = before }()
	return d.text()
}

// most is how many mutants of one document are tried: of more, that many by lot,
// the same in every run. Only the kinds of Argo CD and Longhorn have more.
const most = 1500

// mutants makes every mistake at every place of a document.
func mutants(d document) (all []mutant) {
	var walk func(n *yaml.Node, where string)
	walk = func(n *yaml.Node, where string) {
		for _, c := range wrongs(n) {
			all = append(all, mutant{where, c, n})
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
	if len(all) > most {
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:most]
	}
	return all
}

// wrongs are what a value can be mistaken for: another type, and, in a mapping,
// one field too many.
func wrongs(n *yaml.Node) []change {
	text := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "word"}
	number := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: "3"}
	yes := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"}
	mapping := yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "notAField"}, &text}}
	list := yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{&mapping}}
	switch {
	case n.Kind == yaml.MappingNode:
		more := *n
		more.Content = slices.Concat(n.Content, mapping.Content)
		return []change{{"a field more", more}, {"a list", list}, {"a text", text}}
	case n.Kind == yaml.SequenceNode:
		return []change{{"a mapping", mapping}, {"a text", text}}
	case n.ShortTag() == "!!str":
		return []change{{"a number", number}, {"true", yes}, {"a list", list}, {"a mapping", mapping}}
	case n.ShortTag() == "!!bool":
		return []change{{"a number", number}, {"a text", text}, {"a list", list}}
	}
	return []change{{"a text", text}, {"true", yes}, {"a list", list}}
}

// difference is where image/objects and the API server judge mutants differently,
// and have a reason to.
type difference struct {
	where, what *regexp.Regexp // a path, and what is done there
	why         string
}

var differences = []difference{
	// What one field says of another, and values of the right type, are not in a schema.
	because(`\.selector\.matchLabels$`, "a field more", "the template must have the selector's labels"),
	because(`\.rollingUpdate\.max(Surge|Unavailable)$`, "a text", "a number or a text, but the text must be a percentage"),
	because(`\.limits\.memory$`, "a number", "3 bytes are less than what is requested"),
	because(`\.limits\[\*\]\.(min|default|defaultRequest)\.cpu$`, "a number", "3 processors are more than max"),
	because(`\.ports\[\*\]\.port$`, "a text", "a port may have a name, but not beside endPort"),
	because(`\.resourceFieldRef\.divisor$`, "a number", "a quantity, but none that divides"),
	because(`\.properties\.size\.default$`, "", "a definition's own schema judges its default"),
	// The API looks less closely.
	because(`^\.status\.\w+(\.key)?(\.\w+)?(Size|At|Time)$`, "a number|true", "a status is dropped before its nullable values are judged"),
	because(`\.subresources\.status$`, "a field more", "the API's schema says nothing of it"),
	because(`\.(items|additionalProperties)$`, "a field more", "a schema in another is read without looking for unknown fields"),
}

// because means all that is done where what is "".
func because(where, what, why string) difference {
	return difference{regexp.MustCompile(where), regexp.MustCompile("^(" + cmp.Or(what, ".*") + ")$"), why}
}

func (d difference) fits(m mutant) bool {
	return d.where.MatchString(m.where) && d.what.MatchString(m.what)
}

// verdicts counts what was judged.
type verdicts struct {
	sync.Mutex
	taken, refused int
	used           map[int]int // differences, by how often
}

// TestMutants: of thousands of objects with a mistake image/objects takes and
// refuses those that the API server does, which is asked without effect.
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
	if v.refused < 5000 || v.taken < 100 {
		t.Error("so few show nothing")
	}
	for i, d := range differences {
		if v.used[i] == 0 {
			t.Errorf("nothing differs any more at %v: %s", d.where, d.why)
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
			if d.Kind == "PersistentVolumeClaim" { // one that is there keeps its spec
				d.rename("another")
			}
			all[d.String()] = d // of several the last: mutants of all would be the same
		}
	}
	return all, nil
}

// judge lets both judge an object and each of its mutants.
func (v *verdicts) judge(t *testing.T, d document) {
	ctx := context.Background()
	path := applied(t, d, true)
	for _, m := range mutants(d) {
		text, err := m.text(d)
		if err != nil {
			t.Fatal(err)
		}
		_, here := objects.Parse("mutant", text)
		there, err := first.apply(ctx, path, text, true)
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
