// Package seed writes what a cluster begins with: Longhorn over the sites, with
// backups, and Argo CD with the fleet's Git repository, as Kubernetes objects for
// the node.yaml of the server that creates the cluster.
//
// What it writes has been read back by image/objects. It knows the order in which
// things can succeed: k3s applies a file again until all of it was taken, so what
// needs a chart's own kinds is in a file of its own. Secrets are in no file.
package seed

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/objects"
)

// Input is what a fleet says.
type Input struct {
	// Traefik says that k3s runs it.
	Traefik bool
	// Twice are those of Doubled that are wanted.
	Twice      []string
	EtcdBackup *EtcdBackup
	Longhorn   *Longhorn
	GitOps     *GitOps
	// Secrets are put into the cluster besides those that these need.
	Secrets []node.Secret
}

// New returns the seed, which is empty where nothing is wanted.
func New(in Input) (node.Seed, error) {
	s := &builder{}
	s.addons(in)
	if in.EtcdBackup != nil {
		s.Secrets = append(s.Secrets, etcdSecret(in.EtcdBackup))
	}
	if in.Longhorn != nil {
		s.longhorn(in.Longhorn)
	}
	if in.GitOps != nil {
		s.gitops(in.GitOps)
	}
	s.Secrets = append(s.Secrets, in.Secrets...)
	return s.Seed, s.err
}

// waiting are the files of a seed that come after volumes that are brought back:
// applications, which would make empty ones, and jobs. The lost cluster's jobs are there
// before, as Longhorn's restore brings them at once.
var waiting = []string{rootFile, jobsFile}

// After is a seed whose cluster brings volumes back before all else.
func After(s node.Seed, r node.Restore) node.Seed {
	first := maps.Clone(s.Manifests)
	r.Manifests = map[string]string{}
	for _, name := range waiting {
		if text, ok := first[name]; ok {
			r.Manifests[name] = text
			delete(first, name)
		}
	}
	s.Manifests, s.Restore = first, &r
	return s
}

// LonghornVersion is what a seed brings, as Longhorn calls it.
func LonghornVersion() string { return "v" + longhornChart.Version }

// Chart is a Helm chart as a component of images: every server must have its File
// among k3s' static files.
type Chart struct{ Component, Version, File string }

var (
	longhornChart = Chart{"longhorn-chart", "1.12.1", "longhorn-1.12.1.tgz"}
	argocdChart   = Chart{"argocd-chart", "10.1.1", "argo-cd-10.1.1.tgz"}
)

// Charts are those that a seed of this input names.
func Charts(in Input) (all []Chart) {
	if in.Longhorn != nil {
		all = append(all, longhornChart)
	}
	if in.GitOps != nil {
		all = append(all, argocdChart)
	}
	return all
}

// object is one of Kubernetes, a part of one, or a chart's values.
type object = map[string]any

type builder struct {
	node.Seed
	err error
}

// file adds a manifest, checked.
func (b *builder) file(name string, all ...object) {
	if b.err != nil {
		return
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	for _, o := range all {
		if b.err = enc.Encode(o); b.err != nil {
			return
		}
	}
	if _, b.err = objects.Parse(name, out.Bytes()); b.err != nil {
		return
	}
	if b.Manifests == nil {
		b.Manifests = map[string]string{}
	}
	b.Manifests[name] = out.String()
}

func namespace(name string) object {
	return object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": name}}
}

// chart is a HelmChart of k3s' helm-controller: a file that every server has, so
// that it has no limit of size and needs no repository. After a failure, as when the
// power went, the controller uninstalls first, and with Longhorn all volumes; or it
// waits for a person (abort). Its timeout is for hooks, which may have to unpack an
// image of 500 MB on a slow disk.
func (b *builder) chart(name string, c Chart, space, failurePolicy string, values object) object {
	text, err := yaml.Marshal(values)
	if b.err == nil {
		b.err = err
	}
	return object{"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "metadata": object{"name": name, "namespace": systemSpace}, "spec": object{
		"chart": "https://%{KUBERNETES_API}%/static/charts/" + c.File, "targetNamespace": space,
		"failurePolicy": failurePolicy, "timeout": "30m", "backOffLimit": 1000, "valuesContent": string(text),
	}}
}

// defaults are the values of a chart that go into this package.
func (b *builder) defaults(name string, text []byte) object {
	var values object
	if err := yaml.Unmarshal(text, &values); err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", name, err)
	}
	return values
}

// under returns a part of values, which is there.
func under(values object, key string) object { return values[key].(object) }
