package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/lab"
)

// findLab is lab.Find, with an error if dir is empty: the default directory needs HOME.
func findLab(dir string) (*lab.Running, error) {
	if dir == "" {
		return nil, errNoLabDir
	}
	return lab.Find(dir)
}

func newLabSSH() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "ssh NODE [COMMAND…]",
		Short: "Log in to a node of the running lab",
		Long: `Log in to a node of the running lab as root, with this computer's ssh, or run a
command there. This also works for a node whose site is cut off.`,
		Example: `  imagebuilder lab ssh cabin-pi
  imagebuilder lab ssh cabin-pi firstboot status`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := findLab(dir)
			if err != nil {
				return err
			}
			return labSSH(cmd, r, args[0], args[1:])
		},
	}
	cmd.Flags().SetInterspersed(false) // flags after the node belong to its command
	labDirFlag(cmd, &dir)
	return cmd
}

func newLabKubectl() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "kubectl ARG…",
		Short: "Run kubectl in the running lab's cluster",
		Long: `Run kubectl on the server that created the running lab's cluster. Nothing has to be
installed on this computer.`,
		Example: "  imagebuilder lab kubectl get nodes -o json",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := findLab(dir)
			if err != nil {
				return err
			}
			return labSSH(cmd, r, r.Fleet.Cluster.K3s.Init, append([]string{"k3s", "kubectl"}, quoted(args)...))
		},
	}
	cmd.Flags().SetInterspersed(false)
	labDirFlag(cmd, &dir)
	return cmd
}

// labSSH runs this computer's ssh. It connects to a port on loopback that leads only to that
// machine, whose host key was made there at first boot.
func labSSH(cmd *cobra.Command, r *lab.Running, name string, command []string) error {
	port, ok := r.SSH[name]
	if !ok {
		if _, err := r.Fleet.Find(name); err != nil {
			return err
		}
		return fmt.Errorf("%s is not switched on yet: 'imagebuilder lab status' shows who is there", name)
	}
	ssh := exec.CommandContext(cmd.Context(), "ssh", append([]string{"-p", fmt.Sprint(port), "-i", r.LoginKey, "-o", "IdentitiesOnly=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=" + os.DevNull, "-o", "LogLevel=ERROR", "root@127.0.0.1"}, command...)...)
	ssh.Stdin, ssh.Stdout, ssh.Stderr = os.Stdin, os.Stdout, os.Stderr
	return ended(cmd.Context(), ssh.Run())
}

func newLabStatus() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show which nodes of the running lab have joined",
		Example: "  imagebuilder lab status --json",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := findLab(dir)
			if err != nil {
				return err
			}
			client, err := r.Headscale()
			if err != nil {
				return err
			}
			text, err := (&statusFlags{asJSON: asJSON, noAsk: true}).text(cmd, r.Fleet, client)
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	labDirFlag(cmd, &dir)
	return cmd
}

// quoted quotes words for the remote shell, which gets them in one line.
func quoted(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return out
}
