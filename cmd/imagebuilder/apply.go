package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/handover"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

const applyHelp = `Give nodes that run the node.yaml that fleet.yaml makes of them now: other ssh keys,
labels, tokens, servers, holders of their shares, settings of k3s. No card is needed,
nothing restarts but what the change is for.

Each node.yaml is signed with the owner's key and goes over ssh, as root, to the node's
address in the tailnet. What it would change the node says before it has it; a node for
which nothing changes gets nothing. Servers come first, then witnesses and agents, the
machine with Headscale last; each has to work by it before the next one has its turn,
and the first that does not ends it.

What makes another node of one is refused: its role, board, disks, encryption, Headscale.
What may cut a node off, its network or ssh keys, or stop its k3s, its settings and tokens
or files of yours, wants --risky; so does what lets k3s start anew on a node that votes in
etcd while another one that does is away or ill: the cluster may stop. Where one has gone
since all were asked it stops even so. --plan prints what would change, and does nothing.
Secrets of the cluster's objects are written again by the server that creates it: nobody
at home can tell whether they changed. A node that is locked, has an update on trial,
brings its volumes back or lacks a chart that its objects name has to be done with that
first.

Exit codes: 0 all nodes work by it, 1 it stopped, or left nodes out that are offline, 2
wrong usage, 130 interrupted; with --plan 0 says that each has told what would change, 1
that one could not be asked. --json tells of the nodes, who was left out, and what stopped
it.`

// applyFlags are the flags of "apply".
type applyFlags struct {
	fleet                      string
	choice                     roster.Choice
	plan, risky, asJSON, quiet bool
}

func newApply() *cobra.Command {
	var a applyFlags
	cmd := &cobra.Command{
		Use:   "apply NODE...|--site SITE|--all",
		Short: "Give nodes that run the node.yaml that fleet.yaml makes of them now",
		Long:  applyHelp,
		Example: `  imagebuilder apply --all --plan          # what would change, node by node
  imagebuilder apply --all
  imagebuilder apply cabin-box             # this one alone
  imagebuilder apply --site cabin --risky  # another network, too`,
		ValidArgsFunction: completeNodes,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.run(cmd) },
	}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		a.choice.Names = args
		if err := a.choice.Check(); err != nil {
			return usagef("%w", err)
		}
		return nil
	}
	fleetFlag(cmd, &a.fleet)
	cmd.Flags().StringVar(&a.choice.Site, "site", "", "the nodes of this site")
	cmd.Flags().BoolVar(&a.choice.All, "all", false, "all nodes of the fleet")
	cmd.Flags().BoolVar(&a.plan, "plan", false, "only print what would change")
	cmd.Flags().BoolVar(&a.risky, "risky", false, "also what may cut a node off, or stop its k3s or the cluster")
	cmd.Flags().BoolVar(&a.asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&a.quiet, "quiet", "q", false, "no progress")
	_ = cmd.RegisterFlagCompletionFunc("site", completeSites)
	return cmd
}

func (a *applyFlags) run(cmd *cobra.Command) error {
	order, err := a.prepare(cmd.Context())
	if err != nil {
		return err
	}
	for _, name := range order.Away {
		fmt.Fprintf(cmd.ErrOrStderr(), "left out: %s: %s; do this again when it is there\n", name, roster.Unseen)
	}
	if a.plan {
		err := order.Unasked()
		return errors.Join(err, a.print(cmd.OutOrStdout(), order, err))
	}
	if !a.quiet {
		order.Say = func(node, words string) {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s  %s: %s\n", time.Now().Format(time.TimeOnly), node, printable(words))
		}
	}
	return a.conclude(cmd.OutOrStdout(), order, order.Run(cmd.Context(), a.risky))
}

// conclude prints the results so far, and returns failed, or an error if nodes were left
// out.
func (a *applyFlags) conclude(out io.Writer, order *handover.Order, failed error) error {
	if err := a.print(out, order, failed); err != nil || failed != nil {
		return errors.Join(failed, err)
	}
	return absent(order.Away)
}

// applied is the result as JSON: one value.
type applied struct {
	Nodes   []handover.Node `json:"nodes"`
	LeftOut []string        `json:"leftOut"` // nodes that Headscale does not see
	Stopped *stop           `json:"stopped"` // null if nothing stopped it
}

func (a *applyFlags) prepare(ctx context.Context) (*handover.Order, error) {
	f, err := loadFleet(a.fleet)
	if err != nil {
		return nil, err
	}
	if _, err := a.choice.Of(f); err != nil { // even if Headscale does not answer
		return nil, err
	}
	_, rows, err := members(ctx, f)
	if err != nil {
		return nil, err
	}
	line := func(ctx context.Context, node, command string, input io.Reader) ([]byte, error) {
		s, err := roster.SubjectOf(rows, node)
		if err != nil {
			return nil, err
		}
		return inquiry.Tell(ctx, f, s, command, input)
	}
	return handover.Prepare(ctx, f, rows, a.choice, line, time.Now())
}

func (a *applyFlags) print(out io.Writer, order *handover.Order, failed error) error {
	if a.asJSON {
		return printJSON(out, applied{append([]handover.Node{}, order.Nodes...), append([]string{}, order.Away...), stopOf(failed)})
	}
	var b strings.Builder
	for _, n := range order.Nodes {
		fmt.Fprintf(&b, "%s: %s\n", n.Name, printable(n.Words()))
		for _, risk := range n.Risks {
			fmt.Fprintf(&b, "    risky: %s\n", risk)
		}
		for _, note := range n.Notes {
			fmt.Fprintf(&b, "    note: %s\n", note)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}
