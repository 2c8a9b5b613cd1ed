package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/gitops"
	"github.com/going-mobile/imagebuilder/overlays"
)

func newFleetGitOps() *cobra.Command {
	var file, domain string
	var opt fleet.InitOptions
	var recipients []string
	var force bool
	cmd := &cobra.Command{
		Use:   "gitops DIR",
		Short: "Write applications for the Git repository that the cluster follows",
		Long: `Write code-server, hakatime and Nextcloud, with PostgreSQL and nightly dumps, as
Kubernetes objects into DIR: the directory of your Git repository that fleet.yaml's
cluster: gitops: path: names. The fleet's domain, time zone and network of pods are
filled in. Files that differ are not overwritten unless --force. DIR/README.md says
what is there, what to change, and how a dump is restored.

Their passwords are not in it. Those that fleet.yaml does not refer to yet are made
below secrets/, where a file that is there stays as it is; standard output is the
lines that belong in fleet.yaml, below cluster:, so that the cluster gets them.`,
		Example: `  imagebuilder fleet gitops ../cluster/apps
  imagebuilder fleet gitops ../cluster/apps --domain apps.example.net
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
			tree, err := gitopsTree(f, domain)
			if err != nil {
				return err
			}
			if err := gitops.Write(args[0], tree, force); err != nil {
				return err
			}
			tellGitOps(cmd.ErrOrStderr(), f, args[0])
			return printSecrets(cmd.OutOrStdout(), f, tree, opt.Recipients)
		},
	}
	fleetFlag(cmd, &file)
	cmd.Flags().StringVar(&domain, "domain", "", "what the applications' names are below (default: the cluster's name, in the domain of your Headscale's address)")
	cmd.Flags().BoolVar(&force, "force", false, "overwrite files that differ")
	cmd.Flags().StringArrayVar(&recipients, "age", nil, "encrypt the passwords for this age recipient (repeatable)")
	return cmd
}

func gitopsTree(f *fleet.Fleet, domain string) (map[string][]byte, error) {
	values, err := gitops.ValuesOf(f, domain)
	switch {
	case errors.Is(err, gitops.ErrNoDomain):
		return nil, usagef("--domain is missing: %w", err)
	case err != nil && domain != "":
		return nil, usagef("--domain: %w", err)
	case err != nil:
		return nil, err
	}
	apps, err := fs.Sub(overlays.FS, "apps")
	if err != nil {
		return nil, err
	}
	return gitops.Tree(apps, values)
}

// tellGitOps says what else the applications want of the fleet.
func tellGitOps(w io.Writer, f *fleet.Fleet, dir string) {
	fmt.Fprintf(w, "%s is ready to be committed; its README.md says which names must lead to your nodes\n", dir)
	if f.Cluster.Longhorn == nil {
		fmt.Fprintln(w, "the applications want volumes of Longhorn, and fleet.yaml has no cluster: longhorn:")
	}
	if f.Cluster.GitOps == nil {
		fmt.Fprintln(w, "nothing follows the repository: fleet.yaml has no cluster: gitops:")
	}
}

// printSecrets prints what fleet.yaml lacks, as it stands there.
func printSecrets(w io.Writer, f *fleet.Fleet, tree map[string][]byte, recipients []age.Recipient) error {
	wanted, err := gitops.Secrets(tree)
	if err != nil {
		return err
	}
	missing, err := f.Missing(wanted, recipients, rand.Reader)
	if err != nil || len(missing) == 0 {
		return err
	}
	head := "  secrets: # below cluster:\n"
	if len(f.Cluster.Secrets) > 0 {
		head = "    # below cluster: secrets:\n"
	}
	_, err = fmt.Fprint(w, head+gitops.Lines(missing))
	return err
}
