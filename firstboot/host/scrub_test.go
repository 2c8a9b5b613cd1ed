//go:build linux

package host

import (
	"errors"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestScrub: a key that a server or tailscaled repeats in a message does not reach the journal, and
// a refusal stays a refusal.
func TestScrub(t *testing.T) {
	j := firstboot.Join{Key: "hskey-auth-verysecret"}
	for _, err := range []error{
		errors.New("register request: key hskey-auth-verysecret: locked"),
		&firstboot.RefusedError{Message: "hskey-auth-verysecret was used, hskey-auth-verysecret"},
	} {
		got := scrub(err, j)
		if strings.Contains(got.Error(), "verysecret") {
			t.Errorf("still there: %v", got)
		}
		var before, after *firstboot.RefusedError
		if errors.As(err, &before) != errors.As(got, &after) {
			t.Errorf("%T became %T", err, got)
		}
	}
	if err := scrub(nil, j); err != nil {
		t.Error(err)
	}
}
