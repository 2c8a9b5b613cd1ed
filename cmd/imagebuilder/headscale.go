package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/mint"
	"github.com/going-mobile/imagebuilder/image/revoke"
)

// openMint opens the fleet's mint for its Headscale.
func openMint(f *fleet.Fleet) (*mint.Mint, error) {
	client, err := control.Client(f)
	if err != nil {
		return nil, err
	}
	return mint.Open(f, client)
}

func newHeadscale() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "headscale",
		Short: "Work with the fleet's Headscale",
	}
	cmd.AddCommand(newHeadscaleInit(), newPolicy())
	return cmd
}

func newHeadscaleInit() *cobra.Command {
	var file, address string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Bring the fleet's own Headscale into service",
		Long: `Bring the fleet's own Headscale into service, when the node with role control has
been switched on:
  1. Over ssh, create the API key, and keep it where apiKey says.
  2. Over the API, create the user and apply the policy. If something else is in the
     server's policy, that is left as it is.
  3. Shut out again whoever was revoked, and expire keys again that were expired: a
     restored database has forgotten both. Tell whose keys it does not know.
  4. Give the machine a key of its own, with which it joins its tailnet.

It talks only to a machine that shows the ssh host key made at home.

All of this can be repeated. The API key is valid for a year. In its last month
'status' warns, and this command creates the next one.`,
		Example: `  imagebuilder headscale init
  imagebuilder headscale init --address 203.0.113.7   # before the name leads there`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := loadFleet(file)
			if err != nil {
				return err
			}
			d, err := control.Init(cmd.Context(), f, control.Address{SSH: address, Flag: "--address"}, time.Now)
			if err != nil {
				return err
			}
			return printHeadscaleInit(cmd, f, d)
		},
	}
	fleetFlag(cmd, &file)
	cmd.Flags().StringVar(&address, "address", "", "HOST or HOST:SSHPORT: where the machine is, if its name does not lead there yet")
	return cmd
}

func printHeadscaleInit(cmd *cobra.Command, f *fleet.Fleet, d *control.Done) error {
	tellWithoutAttrs(cmd, d.Policy.WithoutAttrs)
	tellForgotten(cmd, d.Again)
	for _, name := range d.Forgotten {
		fmt.Fprintf(cmd.ErrOrStderr(), "Headscale does not know the key of %[1]s: if it is to join, or was a member, it needs another (imagebuilder key %[1]s)\n", name)
	}
	policy := "user %s and the fleet's policy are in place at %s"
	if !d.Policy.InPlace {
		policy = "user %s is in place at %s, whose policy was left as it is"
		fmt.Fprintln(cmd.ErrOrStderr(), "the policy of the server was left as it is: "+policyLeft(d.Policy))
	}
	h := f.Cluster.Headscale
	key, member := "is good", "is a member of its tailnet"
	if d.Created {
		key = "was made, for a year"
	}
	if !d.Ended.IsZero() {
		key += ", in place of one that ends on " + d.Ended.Local().Format(time.DateOnly)
	}
	if !d.Member {
		member = "has a key of its own and joins its tailnet"
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "the API key in %s %s\n"+policy+"\n%s %s\n"+
		"for status, apply, update, unlock and kubeconfig your own computer must be in the tailnet, too, as a device of user %[3]s: tailscale up --login-server %[4]s\n"+
		"that shows a page with a command of Headscale, to run on %[5]s (by ssh as root) with %[3]s for USERNAME\n",
		h.APIKey, key, h.User, h.URL, d.Node, member)
	return err
}

// tellForgotten prints what a restored database had let in again.
func tellForgotten(cmd *cobra.Command, found *revoke.Found) {
	for _, m := range found.Members {
		fmt.Fprintf(cmd.ErrOrStderr(), "deleted %s (number %s) from the tailnet again: it was revoked, but Headscale's database did not know that\n", m.GivenName, m.ID)
	}
	if n := len(found.Keys); n > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "expired %d unused keys of earlier cards again, which were valid again in Headscale's database\n", n)
	}
}

func newPolicy() *cobra.Command {
	var file string
	var check, apply, replace bool
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Print, check or apply the policy that the fleet needs",
		Long: `Print the policy that the fleet needs from its Headscale:
  - a tag for every role and site;
  - between nodes, only the traffic of k3s, and of key shares if data are encrypted;
  - for the owner's own devices, ssh, the API of Kubernetes and the web.

--check asks the server whether it would accept the policy (Headscale 0.29 and
newer). --apply makes it the server's policy. The server must keep its policy in its
database.

A Headscale has one policy for all its users. --apply sets it where there is none and
no other user, whose devices reach each other without one, and replaces an earlier one
of this fleet. One with anything else in it, of other users or of yours, it leaves,
tells what would be lost, and keeps a copy in secrets/policy.before. --replace sets it
in any case.`,
		Example: `  imagebuilder headscale policy > policy.hujson
  imagebuilder headscale policy --apply`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check && apply {
				return usagef("--check or --apply, not both")
			}
			if replace && !apply {
				return usagef("--replace goes with --apply")
			}
			f, err := loadFleet(file)
			if err != nil {
				return err
			}
			policy, err := f.Policy()
			if err != nil {
				return err
			}
			if !check && !apply {
				_, err = cmd.OutOrStdout().Write(policy)
				return err
			}
			client, err := control.Client(f)
			if err != nil {
				return err
			}
			if apply {
				return applyPolicy(cmd, f, client, replace)
			}
			return checkPolicy(cmd, client, string(policy))
		},
	}
	fleetFlag(cmd, &file)
	cmd.Flags().BoolVar(&check, "check", false, "ask the server whether it would accept the policy")
	cmd.Flags().BoolVar(&apply, "apply", false, "make it the policy of the server")
	cmd.Flags().BoolVar(&replace, "replace", false, "with --apply: also in place of one with other rules in it, which are lost there")
	return cmd
}

// tellWithoutAttrs prints the consequence of a policy without cache-network-maps.
func tellWithoutAttrs(cmd *cobra.Command, without bool) {
	if without {
		fmt.Fprintln(cmd.ErrOrStderr(), "this Headscale is older than 0.29: a node that restarts while Headscale is down has no address until Headscale is back")
	}
}

func applyPolicy(cmd *cobra.Command, f *fleet.Fleet, client *headscale.Client, replace bool) error {
	p, err := control.SetPolicy(cmd.Context(), f, client, replace)
	if err != nil {
		return err
	}
	tellWithoutAttrs(cmd, p.WithoutAttrs)
	if !p.InPlace && len(p.Lacks) > 0 {
		return errors.New("the server's policy was left as it is: " + policyLeft(p))
	}
	if !p.InPlace {
		fmt.Fprintln(cmd.ErrOrStderr(), policyLeft(p))
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "the server's policy has all that the fleet needs, and was left as it is")
		return err
	}
	if p.Kept != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "the policy before is in %s\n", p.Kept)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "the policy is the server's now")
	return err
}

// policyLeft says what would be lost with a policy that was left, and the ways on.
func policyLeft(p *control.Policy) string {
	out := "the fleet's in its place would take away:\n" + someLines(p.Lost)
	if p.Kept == "" { // none was set
		out += "without a policy the fleet works, too, though everybody's devices reach its nodes: nothing has to be done\n" +
			"to have both, write the fleet's into a file (imagebuilder headscale policy > FILE), add a rule for each of these users to its acls, " +
			`such as {"action": "accept", "src": ["NAME@"], "dst": ["NAME@:*"]}` +
			", and on the server's machine: headscale policy set --file FILE\n"
	}
	if len(p.Lacks) > 0 && p.Kept != "" {
		out += "it has not, but the fleet needs:\n" + someLines(p.Lacks) +
			"to have both, add that to " + p.Kept + ", which is a copy of it, and on the server's machine: headscale policy set --file FILE\n"
	}
	return out + "to have the fleet's alone: imagebuilder headscale policy --apply --replace"
}

// someLines are as many lines as a person reads.
func someLines(lines []string) string {
	const most = 20
	out := ""
	for _, l := range lines[:min(len(lines), most)] {
		out += "  " + l + "\n"
	}
	if n := len(lines) - most; n > 0 {
		out += fmt.Sprintf("  and %d lines more\n", n)
	}
	return out
}

func checkPolicy(cmd *cobra.Command, client *headscale.Client, policy string) error {
	err := client.PolicyCheck(cmd.Context(), policy)
	if errors.Is(err, headscale.ErrNotFound) {
		return fmt.Errorf("this Headscale cannot check a policy, 0.29 and newer can: %w", err)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "the server would take the policy")
	return err
}
