package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/gitops"
	"github.com/going-mobile/imagebuilder/overlays"
)

func newFleetGitOps() *cobra.Command {
	var file string
	var opt fleet.InitOptions
	var recipients []string
	var force bool
	cmd := &cobra.Command{
		Use:   "gitops DIR",
		Short: "Write applications for the Git repository that the cluster follows",
		Long: `Write code-server, hakatime and Nextcloud, with PostgreSQL and nightly dumps, as
Kubernetes objects into DIR. DIR is the directory of your Git repository that
fleet.yaml names (cluster: gitops: path:). DIR/README.md says what is there, what to
change, and how to restore a dump.

If files in DIR differ, nothing is written, unless --force overwrites them.

The objects contain the fleet's domain, time zone and pod network. Another domain is
set in fleet.yaml (cluster: names: {domain: apps.example.net}).

Passwords are not among them. Those that fleet.yaml does not refer to yet are made
below secrets/, where existing files stay as they are.

Standard output gets the lines that fleet.yaml lacks, to be put below cluster:. With
them, the cluster gets the passwords, and the applications' names lead to it in the
tailnet.`,
		Example: `  imagebuilder fleet gitops ../cluster/apps
  imagebuilder plan --resources --manifests ../cluster/apps`,
		Args: exactArgs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := readRecipients(&opt, recipients); err != nil {
				return err
			}
			f, err := loadFleet(file)
			if err != nil {
				return err
			}
			tree, err := gitopsTree(f)
			if err != nil {
				return err
			}
			if err := gitops.Write(args[0], tree, force); err != nil {
				return err
			}
			tellGitOps(cmd.ErrOrStderr(), f, args[0])
			if err := printNames(cmd.OutOrStdout(), f, tree); err != nil {
				return err
			}
			wanted, err := gitops.Secrets(tree)
			if err != nil {
				return err
			}
			missing, err := f.MakeMissing(wanted, opt.Recipients, rand.Reader)
			if err != nil {
				return err
			}
			return printSecrets(cmd.OutOrStdout(), f, missing)
		},
	}
	fleetFlag(cmd, &file)
	cmd.Flags().BoolVar(&force, "force", false, "overwrite files that differ")
	cmd.Flags().StringArrayVar(&recipients, "age", nil, "encrypt the passwords for this age recipient (repeatable)")
	return cmd
}

func gitopsTree(f *fleet.Fleet) (map[string][]byte, error) {
	values, err := gitops.ValuesOf(f)
	if errors.Is(err, fleet.ErrNoDomain) {
		return nil, fmt.Errorf("fleet.yaml: cluster: names: domain: %w", err)
	}
	if err != nil {
		return nil, err
	}
	apps, err := fs.Sub(overlays.FS, "apps")
	if err != nil {
		return nil, err
	}
	return gitops.Tree(apps, values)
}

// tellGitOps prints what else the applications need of the fleet.
func tellGitOps(w io.Writer, f *fleet.Fleet, dir string) {
	fmt.Fprintf(w, "%s is ready to be committed; its README.md says what to change\n", dir)
	if f.Control() == "" {
		fmt.Fprintln(w, "nothing makes the applications' names lead to the cluster, as somebody else runs your Headscale; the README.md there says what to do")
	}
	if f.Cluster.Longhorn == nil {
		fmt.Fprintln(w, "the applications need volumes of Longhorn, but fleet.yaml has no cluster: longhorn:")
	}
	if f.Cluster.GitOps == nil {
		fmt.Fprintln(w, "the cluster does not follow the repository yet: fleet.yaml has no cluster: gitops:")
	}
}

// printNames prints the lines for applications' names that fleet.yaml lacks.
func printNames(w io.Writer, f *fleet.Fleet, tree map[string][]byte) error {
	domain, err := f.Domain()
	if err != nil {
		return err
	}
	hosts, err := gitops.Hosts(tree, domain)
	if line := gitops.NamesLine(f.Cluster.Names, hosts); err == nil && line != "" {
		where := "below cluster:"
		if len(f.Cluster.Names.Hosts) > 0 || f.Cluster.Names.Domain != "" {
			where += ", in place of what is there"
		}
		_, err = fmt.Fprintf(w, "%s # %s\n", line, where)
	}
	return err
}

// printSecrets prints the lines for secrets that fleet.yaml lacks.
func printSecrets(w io.Writer, f *fleet.Fleet, missing []fleet.Secret) error {
	if len(missing) == 0 {
		return nil
	}
	head := "  secrets: # below cluster:\n"
	if len(f.Cluster.Secrets) > 0 {
		head = "    # below cluster: secrets:\n"
	}
	_, err := fmt.Fprint(w, head+gitops.Lines(missing))
	return err
}
