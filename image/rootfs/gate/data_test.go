package gate

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestData checks the files that models and templates are read from.
func TestData(t *testing.T) {
	k, err := newKnowledge(modelsYAML, recordedText, templatesYAML)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range k.models {
		if len(m.scripts) == 0 || len(m.Effects) == 0 {
			t.Errorf("%s has no script or no effect", m.Package)
		}
		for script, texts := range m.scripts {
			if slices.ContainsFunc(texts, func(r recording) bool { return len(r.lines) == 0 }) {
				t.Errorf("%s %s: no lines", m.Package, script)
			}
		}
	}
	seen := map[string]bool{}
	for name, tool := range k.tools {
		for _, b := range tool.Blocks {
			checkBlock(t, name, b, seen)
		}
	}
}

func checkBlock(t *testing.T, tool string, b block, seen map[string]bool) {
	t.Helper()
	if !slices.Contains([]string{"none", "presets", "tmpfiles", "sysusers", "apparmor"}, b.Effect) {
		t.Errorf("%s: unknown effect %q", tool, b.Effect)
	}
	if b.Does == "" || len(b.Digests) == 0 {
		t.Errorf("%s: a block lacks digests or what it does", tool)
	}
	for _, d := range b.Digests {
		if err := parseHex(make([]byte, 32), d); err != nil || seen[d] {
			t.Errorf("%s: digest %s: %v, or it stands there twice", tool, d, err)
		}
		seen[d] = true
	}
}

// TestRecordedIsCanonical: TestRecord would write the very file that is there.
func TestRecordedIsCanonical(t *testing.T) {
	rs, err := parseRecordings(recordedText)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(recordedText, formatRecordings(rs)); diff != "" {
		t.Error(diff)
	}
}
