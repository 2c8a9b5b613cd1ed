package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/handover"
	"github.com/going-mobile/imagebuilder/image/rollout"
	"github.com/going-mobile/imagebuilder/image/update"
)

func (u *updateFlags) printMade(out io.Writer, m *made) error {
	if u.asJSON {
		return printJSON(out, m)
	}
	_, err := fmt.Fprintf(out, "%s: %.1f MB, for board %s, version %s; on the node: firstboot update FILE\n", m.File, float64(m.Size)/1e6, m.Board, m.Version)
	return err
}

// printPlan prints each node's turn in a few lines, in order.
func (u *updateFlags) printPlan(cmd *cobra.Command, p rollout.Plan) error {
	out := cmd.OutOrStdout()
	if u.asJSON {
		return printJSON(out, p)
	}
	var b strings.Builder
	for _, up := range p.Updates {
		fmt.Fprintf(&b, "Image %s for board %s", up.Version, up.Board)
		if p.NewMinor && up.K3s != "" {
			fmt.Fprintf(&b, ", with a new minor version of k3s (%s): servers first", up.K3s)
		}
		fmt.Fprintln(&b)
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%2d. %s (%s, %s): %s\n", i+1, s.Node, s.Role, s.Site, strings.Join(s.Do, "; "))
		if s.Note != "" {
			fmt.Fprintf(&b, "    %s\n", s.Note)
		}
		for _, a := range s.Against {
			fmt.Fprintf(&b, "    not now: %s\n", printable(a))
		}
	}
	printLeftOut(&b, p.LeftOut)
	if !u.opt.Restart {
		fmt.Fprintln(&b, "Nothing restarts without --reboot")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (u *updateFlags) printBack(out io.Writer, done []update.Answer) error {
	if u.asJSON {
		return printJSON(out, append([]update.Answer{}, done...)) // a list, even if empty
	}
	for _, a := range done {
		then := fmt.Sprintf("restart it: it tries %s in slot %s then", a.Version, a.Slot)
		if a.TakenBack {
			then = fmt.Sprintf("%s; it goes on with %s in slot %s", takenBack, a.Version, a.Slot)
		}
		if _, err := fmt.Fprintf(out, "%s: %s\n", a.Node, then); err != nil {
			return err
		}
	}
	return nil
}

const takenBack = "the update that waited is taken back"

func printLeftOut(out io.Writer, all []rollout.LeftOut) {
	for _, l := range all {
		fmt.Fprintf(out, "left out: %s: %s\n", l.Node, l.Why)
	}
}

// absent returns an error that names nodes which Headscale does not see, nil if there are
// none.
func absent(names []string) error {
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("not all have it: Headscale does not see %s; do this again when it does", strings.Join(names, ", "))
}

// rolled is the result of a rollout as JSON: one value, complete or not.
type rolled struct {
	Done    []rollout.Outcome `json:"done"`
	LeftOut []rollout.LeftOut `json:"leftOut"`
	// Stopped is null if nothing stopped the rollout.
	Stopped *stop `json:"stopped"`
}

// stop is where an update or apply stopped, and why.
type stop struct {
	Node     string   `json:"node,omitempty"`
	Why      string   `json:"why"`
	NotBegun []string `json:"notBegun,omitempty"`
}

func stopOf(failed error) *stop {
	var update *rollout.Stopped
	var apply *handover.Stopped
	switch {
	case failed == nil:
		return nil
	case errors.As(failed, &update):
		return &stop{update.Node, update.Cause.Error(), update.Left}
	case errors.As(failed, &apply):
		return &stop{apply.Node, apply.Cause.Error(), apply.Left}
	}
	return &stop{Why: failed.Error()}
}

// printDone prints the result of a rollout; without --json, the caller prints the error.
func (u *updateFlags) printDone(out io.Writer, done []rollout.Outcome, leftOut []rollout.LeftOut, failed error) error {
	if u.asJSON {
		return printJSON(out, rolled{append([]rollout.Outcome{}, done...), append([]rollout.LeftOut{}, leftOut...), stopOf(failed)})
	}
	if len(done) > 0 {
		if err := printOutcomes(out, done); err != nil {
			return err
		}
	}
	printLeftOut(out, leftOut)
	return nil
}

func printOutcomes(out io.Writer, done []rollout.Outcome) error {
	w := newTable(out)
	fmt.Fprintln(w, "NODE\tVERSION\tSLOT\tFETCHED\tNOTE")
	for _, d := range done {
		note := "restart it: it tries slot " + d.Slot + " then"
		switch {
		case d.Restarted:
			note = "runs it"
		case d.TakenBack:
			note = "ran it already; " + takenBack
		case !d.Installed:
			note = "ran it already"
		}
		note = strings.Join(append([]string{note}, d.Notes...), "; ")
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f MB\t%s\n", d.Node, d.Version, d.Slot, float64(d.Fetched)/1e6, note)
	}
	return w.Flush()
}
