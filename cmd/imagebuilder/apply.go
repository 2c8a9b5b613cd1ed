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

const applyHelp = `Give running nodes the node.yaml that fleet.yaml makes for them now: with other ssh
keys, labels, tokens, servers, k3s settings, or keepers of their key shares. No card
is needed. Nothing restarts except what the change concerns.

Each node.yaml is signed with the owner's key and sent over ssh, as root, to the
node's address in the tailnet. Before a node gets it, the node says what would
change. A node for which nothing would change gets nothing.

While Headscale does not answer, only the machine that runs it can get a node.yaml,
alone: it is reached by its public name. So it gets a certificate in the place of
one that has ended (--risky).

The nodes take turns: servers first, then witnesses and agents, and last the machine
with Headscale. The next node has its turn when the one before has gone through its
steps and works by its new file. The first one that does not ends the command.

Refused, as it would make a different node: another role, board, data disk, disk for
Longhorn, encryption or Headscale.

Refused without --risky:
  - what may cut a node off, such as its network, ssh keys, owner's key or
    Headscale's certificate;
  - what may stop its k3s: its settings, tokens, and files of yours;
  - a restart of k3s on a node that votes in etcd, while another one that votes is
    away or ill: the cluster may stop. If a voter goes away only after all nodes
    were asked, the command stops even with --risky.

Refused for the time being is a node
  - whose data are locked;
  - that has an update on trial;
  - that is restoring its volumes;
  - whose image lacks a chart that its objects name.

All nodes are asked first. If one of them is refused, none gets anything.

When the server that creates the cluster gets a new node.yaml, it writes all Secrets
of fleet.yaml again: nobody at home can tell whether they changed.

--plan prints what would change, and does nothing. --site and --all leave out nodes
that are offline; a node that is named must be online. --json prints the nodes,
which ones were left out, and where the command stopped.

Exit codes:
    0  all nodes work by their file; with --plan: each has said what would change
    1  it stopped, or left out nodes that are offline; with --plan: a node could not
       be asked
    2  wrong usage
  130  interrupted`

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
		Short: "Give running nodes the node.yaml that fleet.yaml makes for them now",
		Long:  applyHelp,
		Example: `  imagebuilder apply --all --plan          # what would change, node by node
  imagebuilder apply --all
  imagebuilder apply cabin-box             # this node alone
  imagebuilder apply --site cabin --risky  # even if it changes the network`,
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
	cmd.Flags().BoolVar(&a.risky, "risky", false, "also do what may cut a node off, or stop its k3s or the cluster")
	cmd.Flags().BoolVar(&a.asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&a.quiet, "quiet", "q", false, "no progress")
	_ = cmd.RegisterFlagCompletionFunc("site", completeSites)
	return cmd
}

func (a *applyFlags) run(cmd *cobra.Command) error {
	order, err := a.prepare(cmd)
	if err != nil {
		return err
	}
	for _, name := range order.Away {
		fmt.Fprintf(cmd.ErrOrStderr(), "left out: %s: %s; do this again when it is online\n", name, roster.Unseen)
	}
	if a.plan {
		err := order.Unasked()
		return errors.Join(err, a.print(cmd.OutOrStdout(), order, err))
	}
	if !a.quiet {
		order.Say = nodeLines(cmd.ErrOrStderr())
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

func (a *applyFlags) prepare(cmd *cobra.Command) (*handover.Order, error) {
	f, err := loadFleet(a.fleet)
	if err != nil {
		return nil, err
	}
	names, err := a.choice.Of(f)
	if err != nil { // even if Headscale does not answer
		return nil, err
	}
	rows, err := reachable(cmd, f, names)
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
	return handover.Prepare(cmd.Context(), f, rows, a.choice, line, time.Now())
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
