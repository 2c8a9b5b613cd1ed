package objects_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
	"github.com/going-mobile/imagebuilder/image/objects"
)

func reference(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestObjectsThatTheAPITakes(t *testing.T) {
	all, err := objects.Parse("reference.yaml", reference(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 11 || all[1].Kind != "Secret" || all[1].Namespace != "longhorn-system" || all[1].Name != "longhorn-s3" {
		t.Errorf("%+v", all)
	}
	if all, err := objects.Parse("empty.yaml", []byte("---\n# nothing\n---\n")); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestProblemsNameLineFieldAndWhatWasMeant(t *testing.T) {
	const head = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec:\n      containers:\n"
	for text, want := range map[string]string{
		head + "      - {name: x, image: i, imagePulPolicy: Always}\n":    `f:10: field "spec.template.spec.containers[0].imagePulPolicy": is no such field; did you mean imagePullPolicy?`,
		head + "      - {name: x, image: 3}\n":                            `f:10: field "spec.template.spec.containers[0].image": want text, have a number: quote it`,
		head + "      - {name: x, env: [{name: A, value: yes}]}\n":        `f:10: field "spec.template.spec.containers[0].env[0].value": is true or false to some readers`,
		head + "      - {name: x, env: [{name: A, value: 2026-11-29}]}\n": `value": is a date to some readers`,
		head + "      - {image: x}\n":                                     `f:10: field "spec.template.spec.containers[0]": lacks name`,
		head + "      - {name: x, imagePullPolicy: Sometimes}\n":          `imagePullPolicy": want one of [Always IfNotPresent Never]`,
		head + "      - name: x\n        name: y\n":                       `f:11: field "spec.template.spec.containers[0].name": is already set on line 10`,
		head + "      - &x {name: x}\n      - *x\n":                       `f:10: field "spec.template.spec.containers[0]": anchors and aliases are not supported`,
		"apiVersion: apps/v1\nkind: Deploymnt\nmetadata: {name: x}\n":     `f:2: field "kind": apps/v1/Deploymnt is not known here; did you mean apps/v1/Deployment?`,
		"apiVersion: v1\nkind: Namespace\nmetadata: {}\n":                 `f:1: is no Kubernetes object: want apiVersion, kind and metadata.name`,
		"- 1\n": `f:1: is no Kubernetes object`,
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\na: b\n---\nc: [\n":                   "f:7: did not find expected node content",
		"apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: x}\nspec: {valueContent: a}\n": `f:4: field "spec.valueContent": is no such field; did you mean valuesContent?`,
	} {
		_, err := objects.Parse("f", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s%v\nwant %s", text, err, want)
		}
	}
	_, err := objects.Parse("f", []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {key: {hunter: 2}}\ntype: [hunter]\n"))
	var all strictyaml.Problems
	if !errors.As(err, &all) || len(all) != 2 || strings.Contains(err.Error(), "hunter") {
		t.Errorf("%v: two problems are wanted, and no value of a secret", err)
	}
}

// TestSiftLeavesOutWhatItDoesNotKnow, and nothing else: a known kind is held to its schema.
func TestSiftLeavesOutWhatItDoesNotKnow(t *testing.T) {
	const text = "apiVersion: traefik.io/v1alpha1\nkind: Middleware\nmetadata: {name: x}\nspec: {on: yes}\n---\n" +
		"kind: Kustomization\n---\nreplicas: 2\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: x"
	all, others, err := objects.Sift("f", []byte(text+"}\n"))
	if err != nil || len(all) != 1 || all[0].Kind != "Namespace" || len(others) != 3 || others[0].Line != 2 ||
		!strings.Contains(others[0].Msg, "traefik.io/v1alpha1/Middleware is not known here") || others[2].Line != 8 {
		t.Errorf("%v\n%v\n%v", all, others, err)
	}
	for rest, want := range map[string]string{", lables: {a: b}}\n": "f:12: ", "}\n---\napiVersion: v1\nkind: Secret\n": "f:14: is no Kubernetes object"} {
		if _, _, err := objects.Sift("f", []byte(text+rest)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := objects.Parse("f", []byte(text+", lables: {a: b}}\n")); err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("%v: four problems are wanted", err)
	}
}

// TestNoMistakeInAnyObjectGoesUnseen adds an unknown field to every mapping that is not
// free-form, and changes the type of every value.
func TestNoMistakeInAnyObjectGoesUnseen(t *testing.T) {
	mutants, seen := 0, 0
	for text := range strings.SplitSeq(string(reference(t)), "\n---\n") {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatal(err)
		}
		each(&doc, func(where string) {
			mutants++
			data, err := yaml.Marshal(&doc)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := objects.Parse("f", data); err != nil {
				seen++
			} else if !free(where) {
				t.Errorf("%s is taken:\n%s", where, data)
			}
		})
	}
	if mutants < 150 || seen < mutants*3/4 {
		t.Errorf("%d of %d mutants were seen", seen, mutants)
	}
}

// free are places where Kubernetes takes any name, or any text or number.
func free(where string) bool {
	for _, f := range []string{"stringData", "labels", "limits", "requests", "parameters", "creationTimestamp"} {
		if strings.Contains(where, f) {
			return true
		}
	}
	return false
}

// each mutates a document in every place, one at a time.
func each(n *yaml.Node, try func(where string)) {
	var walk func(n *yaml.Node, where string)
	walk = func(n *yaml.Node, where string) {
		switch n.Kind {
		case yaml.DocumentNode:
			walk(n.Content[0], where)
		case yaml.SequenceNode:
			for _, item := range n.Content {
				walk(item, where+"[]")
			}
		case yaml.MappingNode:
			before := n.Content
			n.Content = append(before[:len(before):len(before)], &yaml.Node{Kind: yaml.ScalarNode, Value: "notAField"}, &yaml.Node{Kind: yaml.ScalarNode, Value: "x"})
			try(where + " + a field")
			n.Content = before
			for i := 1; i < len(n.Content); i += 2 {
				walk(n.Content[i], where+"."+n.Content[i-1].Value)
			}
		case yaml.ScalarNode:
			before := *n
			*n = yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
			try(where + " is a list")
			*n = before
		}
	}
	walk(n, "")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = objects.Parse("f", data) })
}
