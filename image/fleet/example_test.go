package fleet

import (
	"regexp"
	"strings"
	"testing"
)

// commented are lines of the example that a person only has to uncomment.
var commented = regexp.MustCompile(`(?m)^( *)# ([a-zA-Z]+: .*)$`)

// TestWhatIsCommentedIsYAML: each such line loads where it stands, and all of them do.
func TestWhatIsCommentedIsYAML(t *testing.T) {
	text := withVPS()
	lines := commented.FindAllString(text, -1)
	if len(lines) != 2 {
		t.Errorf("%d lines to uncomment, want 2: %q", len(lines), lines)
	}
	variants := []string{commented.ReplaceAllString(text, "$1$2")}
	for _, line := range lines {
		variants = append(variants, strings.Replace(text, line, commented.ReplaceAllString(line, "$1$2"), 1))
	}
	for _, v := range variants {
		if _, err := Load("fleet.yaml", []byte(v), known); err != nil {
			t.Errorf("%v in\n%s", err, v)
		}
	}
	f, err := Load("fleet.yaml", []byte(variants[0]), known)
	if err != nil || f.Cluster.Storage.Encrypt == nil || f.Cluster.Headscale.Server.Backup.S3 == nil {
		t.Errorf("%v: what was uncommented does nothing", err)
	}
	for _, made := range []string{text, elsewhere()} {
		if strings.Contains(made, "# of the VPS") || strings.Contains(made, "#\n") {
			t.Errorf("a mark of ours is left:\n%s", made)
		}
	}
}
