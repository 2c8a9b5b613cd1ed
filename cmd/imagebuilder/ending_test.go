package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/going-mobile/imagebuilder/image/rollout"
)

// TestInterrupted: what an interrupted command left behind is reported, and "nothing was
// left behind" is said only if that is so.
func TestInterrupted(t *testing.T) {
	for _, c := range []struct {
		err         error
		interrupted bool
		code        int
		want        string
	}{
		{nil, true, 0, ""},
		{errors.New("no"), false, exitFailure, "imagebuilder: no\n"},
		{usagef("no"), false, exitUsage, "imagebuilder: no\n"},
		{&exitError{7}, true, 7, ""},
		{context.Canceled, true, exitInterrupted, "imagebuilder: interrupted; nothing half-written was left behind\n"},
		{fmt.Errorf("read the image: %w; and what was written could not be erased (it is gone): do not start a machine from this device", context.Canceled), true, exitInterrupted,
			"imagebuilder: interrupted: read the image: interrupted; and what was written could not be erased (it is gone): do not start a machine from this device\n"},
		{errors.Join(context.Canceled, errors.New("the key of cabin-pi could not be expired, it stays valid until tomorrow")), true, exitInterrupted,
			"imagebuilder: interrupted: interrupted\nthe key of cabin-pi could not be expired, it stays valid until tomorrow\n"},
		{&rollout.Stopped{Node: "cabin-pi", Cause: fmt.Errorf("it stays cordoned: %w", context.Canceled)}, true, exitInterrupted,
			"imagebuilder: interrupted: stopped at cabin-pi: it stays cordoned: interrupted\nDone: none. Not begun: none.\nMend that, and say the same again: nodes that run the update are passed over\n"},
		{errors.New("a card's \x1b[2J words"), true, exitInterrupted, "imagebuilder: interrupted: a card's  [2J words\n"},
	} {
		var out bytes.Buffer
		if code := conclude(&out, c.err, c.interrupted); code != c.code || out.String() != c.want {
			t.Errorf("%v: exit code %d, %q", c.err, code, &out)
		}
	}
}
