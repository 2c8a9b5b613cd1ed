package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// Pauses of "status --watch": between requests to Headscale, and between questions to the
// nodes, each of which needs a login.
const (
	watchPause = 5 * time.Second
	askPause   = time.Minute
)

// statusFlags are the flags of "status".
type statusFlags struct {
	fleet                string
	asJSON, watch, noAsk bool
	doctor               bool

	asked time.Time                  // when the nodes were asked last
	said  map[string]*inquiry.Answer // the nodes' last answers

	warned bool // a warning about the API key was printed
}

func newStatus() *cobra.Command {
	var s statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which nodes of the fleet have joined and are online",
		Long: `Show for every node whether a key was made for it, whether it has joined the tailnet
with that key, and whether it is online. Members that joined with a key of this fleet
and are not in fleet.yaml any more come last.

Nodes that are online are asked for their image, its age in days, their slot, and
what is wrong with them. That is done by your ssh, as root, at their addresses in
the tailnet, for all nodes at once, and takes twenty seconds at most. NOTE says why
a node could not be asked. secrets/known_hosts keeps the nodes' host keys as they
were first seen.

With --doctor the nodes also examine themselves, and servers examine the cluster:
clocks, sites, container images, volumes, backups, and what etcd has measured.
Problems are listed below the table, in the words of "firstboot doctor". --doctor
goes neither with --watch nor with --no-ask.

With --watch the table is printed again whenever something has changed, until
Ctrl-C; with --json, one JSON value after the other. The nodes are then asked once a
minute. Once a table was printed, a network fault is reported and does not end the
command.

If Headscale's API key expires within a month, a warning is printed.`,
		Example: `  imagebuilder status
  imagebuilder status --doctor
  imagebuilder status --watch --no-ask
  imagebuilder status --json | jq -r '.[] | select(.state != "online").node'`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	fleetFlag(cmd, &s.fleet)
	cmd.Flags().BoolVar(&s.asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&s.watch, "watch", "w", false, "print the table again whenever something has changed")
	cmd.Flags().BoolVar(&s.noAsk, "no-ask", false, "ask only Headscale, not the nodes")
	cmd.Flags().BoolVar(&s.doctor, "doctor", false, "have the nodes examine themselves and the cluster, which takes up to three minutes")
	cmd.MarkFlagsMutuallyExclusive("doctor", "no-ask")
	cmd.MarkFlagsMutuallyExclusive("doctor", "watch")
	return cmd
}

func (s *statusFlags) run(cmd *cobra.Command) error {
	f, err := loadFleet(s.fleet)
	if err != nil {
		return err
	}
	client, err := control.Client(f)
	if err != nil {
		return err
	}
	return s.follow(cmd, func() (string, error) { return s.text(cmd, f, client) })
}

// follow prints the status and, with --watch, each change. After the first success, an error
// does not end it: the error is printed, and follow tries again.
func (s *statusFlags) follow(cmd *cobra.Command, look func() (string, error)) error {
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	for last, told := "", false; ; {
		text, err := look()
		switch {
		case cmd.Context().Err() != nil:
			return cmd.Context().Err()
		case err != nil && (!s.watch || last == ""):
			return err
		case err != nil && !told:
			fmt.Fprintf(cmd.ErrOrStderr(), "%s (looking again)\n", printable(err.Error()))
		case err == nil && text != last:
			last = text
			if _, err := io.WriteString(cmd.OutOrStdout(), text); err != nil {
				return err
			}
		}
		if told = err != nil; !s.watch {
			return nil
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-tick.C:
		}
	}
}

func (s *statusFlags) text(cmd *cobra.Command, f *fleet.Fleet, client *headscale.Client) (string, error) {
	rows, err := roster.Read(cmd.Context(), f, client, time.Now())
	if err != nil {
		return "", err
	}
	former, err := roster.Former(cmd.Context(), f, client)
	if err != nil {
		return "", err
	}
	s.warnOfKey(cmd, f, client)
	s.ask(cmd, f, rows)
	if s.doctor {
		roster.Examine(cmd.Context(), f, rows)
	}
	rows = append(rows, former...)
	var b strings.Builder
	if s.asJSON {
		err := printJSON(&b, rows)
		return b.String(), err
	}
	if err := printRows(&b, rows); err != nil {
		return "", err
	}
	for _, r := range rows {
		printDoctor(&b, r)
	}
	return b.String(), nil
}

// warnOfKey warns once of an API key that expires within a month: without a valid key no
// node can be let in or shut out. If Headscale does not tell the expiry, that is not an
// error.
func (s *statusFlags) warnOfKey(cmd *cobra.Command, f *fleet.Fleet, client *headscale.Client) {
	if s.warned {
		return
	}
	s.warned = true
	if end, err := control.EndsSoon(cmd.Context(), client, time.Now()); err == nil && !end.IsZero() {
		fmt.Fprintf(cmd.ErrOrStderr(), "the API key of Headscale ends on %s: %s\n", end.Local().Format(time.DateOnly), f.NextAPIKey(false))
	}
}

// ask fills in the nodes' answers, or their last ones if these are recent.
func (s *statusFlags) ask(cmd *cobra.Command, f *fleet.Fleet, rows []roster.Row) {
	switch {
	case s.noAsk:
	case time.Since(s.asked) < askPause:
		for i := range rows {
			rows[i].Says = s.said[rows[i].Node]
		}
	default:
		roster.Ask(cmd.Context(), f, rows)
		s.asked, s.said = time.Now(), map[string]*inquiry.Answer{}
		for _, r := range rows {
			s.said[r.Node] = r.Says
		}
	}
}

func printRows(out io.Writer, rows []roster.Row) error {
	w := newTable(out)
	fmt.Fprintln(w, "NODE\tSITE\tROLE\tSTATE\tADDRESS\tSINCE\tIMAGE\tAGE\tSLOT\tWHEN\tNOTE")
	for _, r := range rows {
		address, since, said := "", "", inquiry.Answer{}
		if r.Address.IsValid() {
			address = r.Address.String()
		}
		if !r.Joined.IsZero() {
			since = r.Joined.Local().Format(time.DateOnly)
		}
		if r.Says != nil {
			said = *r.Says
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			r.Node, r.Site, r.Role, r.State, address, since, cmp.Or(said.Image, said.Version), imageAge(said, time.Now()), slotWords(said), statusTime(r), strings.Join(slices.Concat(r.Notes, notAsked(said), said.Words()), "; "))
	}
	return w.Flush()
}

// notAsked says why a node that is online could not be asked, nil if it was.
func notAsked(said inquiry.Answer) []string {
	if said.Silent == "" {
		return nil
	}
	return []string{"not asked: " + said.Silent}
}

// imageAge is the age of a node's image, which shows for how long it has had no updates from
// Debian.
func imageAge(said inquiry.Answer, now time.Time) string {
	if said.Made.IsZero() {
		return ""
	}
	return fmt.Sprintf("%d d", int(now.Sub(said.Made).Hours()/24))
}

// slotWords describe the running slot and a trial: of that slot, or of the other one, which
// boots next or failed its trial.
func slotWords(said inquiry.Answer) string {
	switch {
	case said.Trial == "" || said.Good == "":
		return said.Slot
	case said.Trial == said.Slot && said.Good != said.Slot:
		return said.Slot + ", on trial"
	case said.Trial != said.Slot && said.Tries > 0:
		return said.Slot + ", next " + said.Trial
	case said.Trial != said.Slot:
		return said.Slot + ", " + said.Trial + " failed"
	}
	return said.Slot
}

// statusTime is the time that matters in a node's state.
func statusTime(r roster.Row) string {
	const layout = "2006-01-02 15:04"
	switch r.State {
	case roster.Waiting:
		return "until " + r.Expires.Local().Format(layout)
	case roster.Expired:
		return r.Expires.Local().Format(layout)
	case roster.Offline:
		if !r.LastSeen.IsZero() {
			return r.LastSeen.Local().Format(layout)
		}
	}
	return ""
}

func printDoctor(out io.Writer, r roster.Row) {
	switch d := r.Doctor; {
	case d == nil:
	case d.Silent != "":
		fmt.Fprintf(out, "\n%s was not examined: %s\n", r.Node, d.Silent)
	case len(d.Findings) == 0:
		fmt.Fprintf(out, "\n%s: its doctor found nothing\n", r.Node)
	default:
		fmt.Fprintf(out, "\n%s\n", r.Node)
		for _, f := range d.Findings {
			fmt.Fprintf(out, "  %-8s %s: %s: %s\n", f.Verdict, f.Group, f.Check, f.Detail)
		}
	}
}
