package main

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

func newFleet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Work with fleet.yaml: one file for a cluster, its sites and its nodes",
	}
	cmd.AddCommand(newFleetInit(), newFleetNode(), newFleetToken(), newFleetGitOps(), newFleetSchema())
	return cmd
}

func newFleetInit() *cobra.Command {
	var opt fleet.InitOptions
	var recipients []string
	var example string
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Make a fleet: a commented fleet.yaml and the cluster's identity",
		Long: `Make a fleet in DIR (default: here): fleet.yaml with two servers and two agents
to begin with, and secrets/ with what makes the cluster itself: its certificate
authorities, whose root never leaves this machine, and the tokens that pin them.
What the flags do not say is asked. Nothing that is there is touched.`,
		Example: `  imagebuilder fleet init
  imagebuilder fleet init shed --name shed --headscale https://hs.example.org
  imagebuilder fleet init --example going-mobile   # with a VPS that runs Headscale
  imagebuilder fleet init --age age1…   # every secret encrypted`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			if err := readRecipients(&opt, recipients); err != nil {
				return err
			}
			if err := takeExample(&opt, example); err != nil {
				return err
			}
			if err := askInit(cmd, &opt); err != nil {
				return err
			}
			if err := fleet.Init(dir, opt, time.Now(), rand.Reader); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s/%s is ready: put your nodes into it\n", strings.TrimSuffix(dir, "/"), fleet.FileName)
			return err
		},
	}
	cmd.Flags().StringVar(&opt.Name, "name", "", "the cluster's name, such as going-mobile")
	cmd.Flags().StringVar(&opt.Headscale, "headscale", "", "the address of your Headscale, such as https://headscale.example.net")
	cmd.Flags().StringVar(&example, "example", "", "take the example of this name as it is, with its own Headscale: "+fleet.ExampleName)
	cmd.Flags().StringArrayVar(&recipients, "age", nil, "encrypt the secrets for this age recipient (repeatable)")
	return cmd
}

// takeExample answers for a person who only wants to see.
func takeExample(opt *fleet.InitOptions, example string) error {
	if example == "" {
		return nil
	}
	if err := knownExample(example); err != nil {
		return err
	}
	opt.Own, opt.Name, opt.Headscale = true, cmp.Or(opt.Name, fleet.ExampleName), cmp.Or(opt.Headscale, fleet.ExampleHeadscale)
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

// askInit asks a person for what the flags left open.
func askInit(cmd *cobra.Command, opt *fleet.InitOptions) error {
	lines := bufio.NewScanner(cmd.InOrStdin())
	for _, q := range []struct {
		flag, text string
		into       *string
	}{
		{"name", "Name of the cluster (a-z, 0-9, -)", &opt.Name},
		{"headscale", "Address of your Headscale (https://…)", &opt.Headscale},
	} {
		if *q.into != "" {
			continue
		}
		if !term.IsTerminal(int(os.Stdin.Fd())) {
			return usagef("--%s is missing", q.flag)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", q.text)
		if !lines.Scan() {
			return usagef("--%s is missing", q.flag)
		}
		*q.into = strings.TrimSpace(lines.Text())
	}
	return nil
}

// fleetFlag adds --fleet.
func fleetFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "fleet", fleet.FileName, "the fleet file")
}

// loadFleet reads a fleet whose nodes have boards that can be built.
func loadFleet(file string) (*fleet.Fleet, error) {
	return fleet.LoadFile(file, board.Names(boards.FS))
}

func newFleetNode() *cobra.Command {
	var file string
	var reveal bool
	var out secretOut
	cmd := &cobra.Command{
		Use:   "node NAME",
		Short: "Print the node.yaml that a node would get",
		Long: `Print the flat node.yaml that a node of the fleet would get, without the key
that is minted when its card is written. Secrets are masked unless --reveal.`,
		Example: `  imagebuilder fleet node cabin-pi
  imagebuilder fleet node cabin-pi --reveal --out secrets/cabin-pi.yaml`,
		Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := loadFleet(file)
			if err != nil {
				return err
			}
			c, err := f.Config(args[0])
			if err != nil {
				return err
			}
			if !reveal {
				c = fleet.Masked(c)
			}
			data, err := node.Marshal(c)
			if err != nil {
				return err
			}
			return out.write(cmd, data, reveal)
		},
	}
	fleetFlag(cmd, &file)
	out.flag(cmd)
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print the secrets themselves")
	return cmd
}

func newFleetToken() *cobra.Command {
	var file string
	var out secretOut
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a new token for agents",
		Long: `Print a new token for agents, which pins the cluster's certificate authorities as the
one in force does. Put it in that one's place (cluster: k3s: agentToken), and give it to
all nodes: imagebuilder apply --all --risky. Servers come first; agents that run go on
with what they have until they get it. Whoever had the old one cannot join any more.

The servers' token is k3s' own to change: k3s token rotate, on a server.`,
		Example: `  imagebuilder fleet token --out secrets/agent.token
  imagebuilder fleet token | age -r age1… -o secrets/agent.token.age`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := loadFleet(file)
			if err != nil {
				return err
			}
			token, err := f.NewAgentToken(rand.Reader)
			if err != nil {
				return err
			}
			return out.write(cmd, []byte(token.Reveal()+"\n"), true)
		},
	}
	fleetFlag(cmd, &file)
	out.flag(cmd)
	return cmd
}

func newFleetSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of fleet.yaml, for editors",
		Example: `  imagebuilder fleet schema > fleet.schema.json
  # first line of fleet.yaml, for editors with yaml-language-server:
  # yaml-language-server: $schema=fleet.schema.json`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(fleet.Schema)
			return err
		},
	}
}
