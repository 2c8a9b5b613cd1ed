package handover

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// TestStopped: no node gets its file after the first failure. A refusal stops at once; after
// a broken connection it must first be found out whether the node has its file.
func TestStopped(t *testing.T) {
	for name, c := range map[string]struct {
		pi    machine
		want  string
		after time.Duration
		words string
	}{
		"it refuses":        {machine{refuses: &inquiry.No{Words: "firstboot: too large"}}, "pi: firstboot: too large", 0, "does not work by it: k3s.labels"},
		"the line breaks":   {machine{refuses: errors.New("Connection reset by peer")}, "pi: Connection reset by peer", tookTime, "does not work by it: k3s.labels"},
		"it never takes it": {machine{takes: time.Hour}, "it does not work by its new node.yaml after 15m0s: has not taken it yet", patience, "has it, and is not well yet: k3s.labels"},
		"it never ends":     {machine{works: time.Hour}, "after 15m0s: is at the step k3s", patience, "has it, and is not well yet: k3s.labels"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				c.pi.fields = []string{"k3s.labels"}
				w.of["pi"], w.of["box"].fields = &c.pi, []string{"k3s.labels"}
				o, err := w.prepare(all)
				begin := time.Now()
				if err == nil {
					err = o.Run(w.t.Context(), false)
				}
				if err == nil || !strings.Contains(err.Error(), c.want) || slices.Contains(w.given, "box") {
					w.t.Errorf("%v, want %q; given to %v", err, c.want, w.given)
				}
				var s *Stopped
				if !errors.As(err, &s) || s.Node != "pi" || !slices.Equal(s.Left, []string{"box"}) { // the third has no turn
					w.t.Errorf("stopped: %+v", s)
				}
				if n := o.Nodes[0]; n.Words() != c.words || n.Given || n.Has != strings.HasPrefix(c.words, "has it") {
					w.t.Errorf("%s: %+v, want %q", n.Words(), n, c.words)
				}
				if took := time.Since(begin); took < c.after || took > c.after+between {
					w.t.Errorf("told after %v, not %v", took, c.after)
				}
			})
		})
	}
}

// TestInterrupted: a node that was given its file has it, even if nobody waited for the
// result.
func TestInterrupted(t *testing.T) {
	story(t, func(w *world) {
		w.of["pi"].fields, w.of["pi"].works = []string{"k3s.labels"}, time.Hour
		o, err := w.prepare(roster.Choice{Names: []string{"pi"}})
		if err != nil {
			w.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
		defer cancel()
		if err := o.Run(ctx, false); !errors.Is(err, context.DeadlineExceeded) || !o.Nodes[0].Has || o.Nodes[0].Given {
			w.t.Errorf("%v: %+v", err, o.Nodes[0])
		}
	})
}
