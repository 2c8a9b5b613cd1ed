package flash

import (
	"strings"
	"testing"
)

// TestSudoKeepsTheFleetsSecrets, which may be in the environment: sudo leaves that behind.
func TestSudoKeepsTheFleetsSecrets(t *testing.T) {
	for _, advice := range []string{asRoot, macAllowed} {
		if !strings.Contains(advice, "sudo --preserve-env=HEADSCALE_API_KEY,IMAGEBUILDER_AGE_IDENTITY") || !strings.Contains(advice, "{env: NAME}") {
			t.Error(advice)
		}
	}
}
