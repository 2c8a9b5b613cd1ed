package handover

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// TestEveryRuleIsAboutAField: a rule about what no node calls a change of its would guard
// nothing.
func TestEveryRuleIsAboutAField(t *testing.T) {
	paths := everyChange()
	rules := slices.Collect(maps.Keys(forCards))
	for _, f := range slices.Concat(cuts, halves) {
		rules = append(rules, f.name)
	}
	for _, rule := range rules {
		if !slices.ContainsFunc(paths, func(path string) bool { return len(of([]field{{rule, ""}}, path)) > 0 }) {
			t.Errorf("%s: none of %s", rule, strings.Join(paths, " "))
		}
	}
}

// everyChange lists the fields whose change a node may report.
func everyChange() []string {
	var none, full node.Config
	fill(reflect.ValueOf(&full).Elem())
	return append(none.Changes(&full), (&node.Config{Control: &node.ControlServer{}}).Changes(&full)...)
}

// fill gives every field a value that is not its zero value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k"), reflect.ValueOf("v").Convert(v.Type().Elem()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

// TestANewerLonghornIsAnnounced, and nobody gets it who did not say so: it does not go back.
func TestANewerLonghornIsAnnounced(t *testing.T) {
	w := newWorld(t)
	w.of["pi"].fields = []string{"k3s.seed.manifests"}
	w.of["pi"].charts = []contract.ChartChange{{From: "argo-cd-10.1.1.tgz", To: "argo-cd-10.2.0.tgz"}, {From: "longhorn-1.12.1.tgz", To: "longhorn-1.13.0.tgz\x1b"}}
	o, err := w.prepare(roster.Choice{Names: []string{"pi"}})
	if err != nil {
		t.Fatal(err)
	}
	n := o.Nodes[0]
	if len(n.Risks) != 1 || !strings.HasPrefix(n.Risks[0], "k3s.seed.manifests: the chart longhorn-1.13.0.tgz") || !strings.Contains(n.Risks[0], "takes the place of longhorn-1.12.1.tgz. Longhorn does not go back") {
		t.Errorf("%q", n.Risks)
	}
	if !slices.Contains(n.Notes, "k3s.seed.manifests: the chart argo-cd-10.2.0.tgz takes the place of argo-cd-10.1.1.tgz") {
		t.Errorf("%q", n.Notes)
	}
	if err := o.Run(t.Context(), false); err == nil || !strings.Contains(err.Error(), "--risky") || len(w.given) > 0 {
		t.Errorf("%v: given to %v", err, w.given)
	}
}
