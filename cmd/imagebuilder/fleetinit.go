package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

const fleetInitHelp = `Make a fleet in DIR (default: the current directory):
  - fleet.yaml, with two servers and two agents to begin with;
  - secrets/, with the cluster's certificate authorities and the tokens that pin
    them. The root's key never leaves this machine.

Answers that no flag gives are asked for. No existing file is touched, except
.gitignore: it gets lines that keep secrets and images out of Git. A DIR that has a
fleet, or is in a clone of imagebuilder, is refused.

With --ssh-key, the owner of that public key can log in to the nodes, as root.
status, apply, update, unlock and revoke log in with your own ssh. They cannot reach
a node whose card was made without your key. Name a second key (another computer's),
or keep a copy of the private half: without either, nobody gets in to any node.

With --age, the secrets are encrypted. Every command that reads them then needs your
age identity: the environment variable ` + fleet.AgeIdentityEnv + ` names the file
that has it. A copy of DIR is worth nothing without a copy of that.`

// fleetInit are the answers, from flags or questions.
type fleetInit struct {
	opt                 fleet.InitOptions
	recipients, sshKeys []string
	example             string
}

func newFleetInit() *cobra.Command {
	var i fleetInit
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Make a fleet: a commented fleet.yaml and the cluster's identity",
		Long:  fleetInitHelp,
		Example: `  imagebuilder fleet init
  imagebuilder fleet init shed --name shed --headscale https://hs.example.org --ssh-key ~/.ssh/id_ed25519.pub
  imagebuilder fleet init --example going-mobile   # with a VPS that runs Headscale
  imagebuilder fleet init --age age1…   # every secret encrypted`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return i.run(cmd, dir)
		},
	}
	cmd.Flags().StringVar(&i.opt.Name, "name", "", "the cluster's name, such as going-mobile")
	cmd.Flags().StringVar(&i.opt.Headscale, "headscale", "", "the URL of your Headscale, such as https://headscale.example.net")
	cmd.Flags().StringArrayVar(&i.sshKeys, "ssh-key", nil, "file with the public ssh keys of those who may log in to the nodes, such as ~/.ssh/id_ed25519.pub (repeatable)")
	cmd.Flags().StringVar(&i.example, "example", "", "take this example as it is, with a Headscale of its own: "+fleet.ExampleName)
	cmd.Flags().StringArrayVar(&i.recipients, "age", nil, "encrypt the secrets for this age recipient (repeatable)")
	return cmd
}

func (i *fleetInit) run(cmd *cobra.Command, dir string) error {
	if err := readRecipients(&i.opt, i.recipients); err != nil {
		return err
	}
	for _, read := range []func() error{i.takeExample, i.readKeys, i.checkFlags} {
		if err := read(); err != nil {
			return err
		}
	}
	if err := fleet.Vacant(dir); err != nil { // before asking anything
		return err
	}
	if err := i.ask(cmd); err != nil {
		return err
	}
	if err := fleet.Init(dir, i.opt, time.Now(), rand.Reader); err != nil {
		return err
	}
	file := filepath.Join(dir, fleet.FileName)
	if len(i.opt.AuthorizedKeys) == 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s lets nobody log in to its nodes, but status, apply, update, unlock and revoke need to. Before you make a card, write below cluster:\n  ssh: {authorizedKeys: [\"ssh-ed25519 AAAA… me@laptop\"]} # a line of ~/.ssh/id_ed25519.pub\n", file)
	}
	if len(i.opt.Recipients) > 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "nothing reads the secrets without your age identity: keep a copy of it, too, apart from this computer")
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is ready: add your nodes to it\n", file)
	return err
}

// takeExample fills in the answers for a person who only wants to look at the example.
func (i *fleetInit) takeExample() error {
	if i.example == "" {
		return nil
	}
	if err := knownExample(i.example); err != nil {
		return err
	}
	i.opt.Own, i.opt.Name, i.opt.Headscale = true, cmp.Or(i.opt.Name, fleet.ExampleName), cmp.Or(i.opt.Headscale, fleet.ExampleHeadscale)
	return nil
}

func knownExample(name string) error {
	if name != fleet.ExampleName {
		return usagef("--example: there is no example %q; there is %s", name, fleet.ExampleName)
	}
	return nil
}

func readRecipients(opt *fleet.InitOptions, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	var err error
	if opt.Recipients, err = age.ParseRecipients(strings.NewReader(strings.Join(keys, "\n"))); err != nil {
		return usagef("--age: %w", err)
	}
	return nil
}

func (i *fleetInit) readKeys() error {
	for _, name := range i.sshKeys {
		keys, err := fleet.ReadLoginKeys(name)
		if err != nil {
			return usagef("--ssh-key: %w", err)
		}
		i.opt.AuthorizedKeys = append(i.opt.AuthorizedKeys, keys...)
	}
	return nil
}

// wanted is a required answer.
type wanted struct {
	flag, text string
	into       *string
	check      func(string) error
}

func (i *fleetInit) wanted() []wanted {
	return []wanted{
		{"name", "Name of the cluster (a-z, 0-9, -)", &i.opt.Name, node.CheckHostname},
		{"headscale", "Address of your Headscale (https://…)", &i.opt.Headscale, i.opt.CheckHeadscale},
	}
}

func (i *fleetInit) checkFlags() error {
	for _, q := range i.wanted() {
		if *q.into == "" {
			continue
		}
		if err := q.check(*q.into); err != nil {
			return usagef("--%s %q: %w", q.flag, *q.into, err)
		}
	}
	return nil
}

// ask asks for what the flags left open.
func (i *fleetInit) ask(cmd *cobra.Command) error {
	there := atTerminal()
	for _, q := range i.wanted() {
		if *q.into != "" {
			continue
		}
		if !there {
			return usagef("--%s is missing", q.flag)
		}
		if err := insist(cmd.Context(), cmd, q.text+": ", func(answer string) error {
			*q.into = answer
			return q.check(answer)
		}); err != nil {
			return err
		}
	}
	if !there || len(i.sshKeys) > 0 {
		return nil
	}
	return i.askKeys(cmd)
}

// insist repeats a question until the answer is accepted, so that a typing error does not
// cost the earlier answers.
func insist(ctx context.Context, cmd *cobra.Command, question string, take func(string) error) error {
	for {
		answer, err := ask(ctx, cmd, question)
		if err != nil {
			return err
		}
		if err = take(answer); err == nil {
			return nil
		}
		fmt.Fprintln(cmd.ErrOrStderr(), err)
	}
}

// noKey is the answer for "no login keys".
const noKey = "none"

// askKeys asks for files of public keys, and suggests the user's own, until the user has no
// more.
func (i *fleetInit) askKeys(cmd *cobra.Command) error {
	offer := ownKey()
	question := fmt.Sprintf("File with your public ssh key, to log in to the nodes (%s): ", cmp.Or(offer, noKey))
	for more := true; more; {
		err := insist(cmd.Context(), cmd, question, func(answer string) error {
			answer = cmp.Or(answer, offer, noKey)
			if more = answer != noKey; !more {
				return nil
			}
			keys, err := fleet.ReadLoginKeys(inHome(answer))
			i.opt.AuthorizedKeys = append(i.opt.AuthorizedKeys, keys...)
			return err
		})
		if err != nil {
			return err
		}
		offer, question = "", "File with another one ("+noKey+"): "
	}
	return nil
}

// ownKey is the public key file that ssh-keygen writes, "" if there is none.
func ownKey() string {
	const usual = "~/.ssh/id_ed25519.pub"
	if _, err := os.Stat(inHome(usual)); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return usual
}

// inHome expands ~/, as a shell would.
func inHome(name string) string {
	rest, ok := strings.CutPrefix(name, "~/")
	home, err := os.UserHomeDir()
	if !ok || err != nil {
		return name
	}
	return filepath.Join(home, rest)
}
