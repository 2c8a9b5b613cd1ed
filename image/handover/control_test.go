package handover

import (
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/roster"
)

// TestWithoutHeadscale: the machine that runs Headscale gets its file although that lists
// nobody.
func TestWithoutHeadscale(t *testing.T) {
	story(t, func(w *world) {
		w.of["vps"].fields = []string{"control.cert", "control.key"}
		rows := []roster.Row{roster.Control(w.fleet)}
		if s, err := roster.SubjectOf(rows, "vps"); err != nil || s.Node != "vps" {
			w.t.Errorf("%+v, %v", s, err)
		}
		o, err := Prepare(w.t.Context(), w.fleet, rows, roster.Choice{Names: []string{"vps"}}, w.line, time.Now())
		if err == nil {
			err = o.Run(w.t.Context(), true)
		}
		if err != nil || len(w.given) != 1 {
			w.t.Errorf("%v: given to %v", err, w.given)
		}
	})
}
