package firstboot

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/words"
)

// TestEveryProblemInEveryLanguage: a helper reads on the phone what the screen
// says, with the same arguments.
func TestEveryProblemInEveryLanguage(t *testing.T) {
	for _, l := range words.Languages[1:] {
		for code, here := range texts {
			there, ok := l.Problems[code]
			if !ok || there.Summary == "" || there.Remedy == "" {
				t.Errorf("%s: %s has no words", l.Tag, code)
				continue
			}
			for _, pair := range [][2]string{{here.summary, there.Summary}, {here.remedy, there.Remedy}} {
				if n := strings.Count(pair[0], "%s"); strings.Count(pair[1], "%s") != n || strings.Count(pair[1], "%") != n {
					t.Errorf("%s: %s: %q has other arguments than %q", l.Tag, code, pair[1], pair[0])
				}
			}
		}
		for code := range l.Problems {
			if _, ok := texts[code]; !ok {
				t.Errorf("%s: %s is no problem", l.Tag, code)
			}
		}
	}
}

// TestWhatANewKeyEnds: the builder asks for these codes.
func TestWhatANewKeyEnds(t *testing.T) {
	for _, code := range contract.NeedsKey {
		if _, ok := texts[code]; !ok {
			t.Errorf("%s is no problem", code)
		}
	}
	for code, t1 := range texts {
		if t1.remedy == newKey && code != "key-missing" && !slices.Contains(contract.NeedsKey, code) {
			t.Errorf("the remedy of %s is a new key, and the builder does not know", code)
		}
	}
}

func TestStepsAndStatesInEveryLanguage(t *testing.T) {
	var names []string
	for _, s := range stepWords {
		names = append(names, s.name)
	}
	m := &machine{given: &given{cfg: &node.Config{Role: node.Server}}}
	for i, s := range m.steps() {
		if s.Name != names[i] {
			t.Errorf("step %d is %s, and the screen calls it %s", i+1, s.Name, names[i])
		}
	}
	for _, l := range words.Languages {
		if want := slices.Sorted(slices.Values(append([]string{"config"}, names...))); !slices.Equal(slices.Sorted(maps.Keys(l.Steps)), want) {
			t.Errorf("%s: has steps %v, want %v", l.Tag, slices.Sorted(maps.Keys(l.Steps)), want)
		}
		for state := range headlines {
			if l.States[string(state)] == "" {
				t.Errorf("%s: %s has no words", l.Tag, state)
			}
		}
	}
}

// TestNoProblemIsCut in the middle of what is to be done, though its arguments be long: the
// screen has room for so much (plain), and a command that lacks its end does harm.
func TestNoProblemIsCut(t *testing.T) {
	long := strings.Repeat("x", 40)
	for code := range texts {
		if p := problem(code, long, long, long, long); strings.HasSuffix(p.Summary, "...") || strings.HasSuffix(p.Remedy, "...") {
			t.Errorf("%s is cut: %q %q", code, p.Summary, p.Remedy)
		}
	}
}

// TestArguments: other languages say a problem from its code and arguments.
func TestArguments(t *testing.T) {
	p := problem("name-taken", "a", "b\nc", "d")
	summary, remedy, ok := words.Choose("de").Problem(p.Code, p.Args)
	if !ok || !strings.Contains(summary, "schon a; Headscale hat dieses b c genannt") || !strings.Contains(remedy, "dieses in d um") {
		t.Errorf("%q %q", summary, remedy)
	}
	if _, _, ok := words.Choose("en").Problem(p.Code, p.Args); ok {
		t.Error("English has words of its own beside those of the status")
	}
}
