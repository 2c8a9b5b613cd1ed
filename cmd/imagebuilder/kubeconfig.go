package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/kubeconfig"
)

func newKubeconfig() *cobra.Command {
	var file string
	var merge bool
	var out secretOut
	valid := 24 * time.Hour
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Make a kubeconfig for the fleet's cluster, from home",
		Long: `Make a kubeconfig for the fleet's cluster. Its client certificate is signed by the
cluster's own certificate authority, which is among the fleet's secrets. So no login
to a server is needed, and no server has to be on yet. Servers are reached by their
names in the tailnet. The kubeconfig gives full access to the cluster until it
expires (--valid).

The context with the cluster's name leads to the first server. If that one is away,
CLUSTER-SERVER leads to another (kubectl --context going-mobile-cabin-pi).

A cluster whose authorities are not this fleet's (cluster: k3s: ca:) is refused.

With --merge, it is merged into $KUBECONFIG, or ~/.kube/config:
  - The cluster's former entries are replaced. Those of servers that fleet.yaml no
    longer has are removed, unless a context of your own uses them.
  - If another cluster has entries of these names, nothing is changed.
  - Of several files, the one that kubectl would write to is changed.`,
		Example: `  imagebuilder kubeconfig --out secrets/kubeconfig.yaml
  imagebuilder kubeconfig --merge --valid 8h`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if valid <= 0 {
				return usagef("--valid %q: want a time above zero", valid)
			}
			f, err := loadFleet(file)
			if err != nil {
				return err
			}
			a, err := access(f, valid)
			if err != nil {
				return err
			}
			if merge {
				return mergeKubeconfig(cmd, a)
			}
			text, err := kubeconfig.New(a)
			if err != nil {
				return err
			}
			return out.write(cmd, text, true)
		},
	}
	fleetFlag(cmd, &file)
	out.flag(cmd)
	cmd.Flags().BoolVar(&merge, "merge", false, "merge it into $KUBECONFIG, or ~/.kube/config")
	cmd.Flags().DurationVar(&valid, "valid", valid, "how long it gives access to the cluster")
	cmd.MarkFlagsMutuallyExclusive("merge", "out")
	return cmd
}

func access(f *fleet.Fleet, valid time.Duration) (kubeconfig.Access, error) {
	a := kubeconfig.Access{Cluster: f.Cluster.Name}
	id, err := f.Identity()
	if err != nil {
		return a, err
	}
	if id == nil {
		return a, errors.New("the cluster's authorities are not this fleet's (cluster: k3s: ca:): take /etc/rancher/k3s/k3s.yaml from a server")
	}
	a.CA = id.ServerCA()
	for _, name := range f.Servers() {
		a.Servers = append(a.Servers, kubeconfig.Server{Name: name, Address: kubeconfig.Address(name)})
	}
	a.Admin, err = id.Admin("owner", time.Now(), valid, rand.Reader)
	return a, err
}

func mergeKubeconfig(cmd *cobra.Command, a kubeconfig.Access) error {
	files, err := kubeconfigFiles()
	if err != nil {
		return err
	}
	at, text, err := kubeconfig.Join(files, a)
	if err != nil {
		return err
	}
	name := files[at].Name
	file, err := throughLinks(name)
	if err != nil {
		return err
	}
	if err := atomicfile.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: context %s\n", name, a.Cluster)
	return err
}

// throughLinks is the file to write: symbolic links are followed, so that a link to a shared
// file stays a link, as with kubectl.
func throughLinks(name string) (string, error) {
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return name, nil
	}
	file, err := filepath.EvalSymlinks(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is a link to a file that is not there: create that file, or remove the link: %w", name, err)
	}
	return file, err
}

// kubeconfigFiles are the files that kubectl reads: the list in $KUBECONFIG, without empty
// entries, or the default file.
func kubeconfigFiles() (files []kubeconfig.File, err error) {
	names := slices.DeleteFunc(filepath.SplitList(os.Getenv("KUBECONFIG")), func(name string) bool { return name == "" })
	if len(names) == 0 {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("it is not known which kubeconfig --merge is to change: set KUBECONFIG: %w", err)
		}
		names = []string{filepath.Join(home, ".kube", "config")}
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		files = append(files, kubeconfig.File{Name: name, There: err == nil, Text: text})
	}
	return files, nil
}
