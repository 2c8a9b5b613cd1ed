// Package seed writes the initial content of a cluster: Longhorn over all sites, with
// backups, and Argo CD with the fleet's Git repository, as Kubernetes objects for the
// node.yaml of the server that creates the cluster.
//
// Everything it writes was checked by image/objects. It orders the files so that they can
// succeed: k3s applies a file again until all of it was accepted, so objects that need a
// chart's custom resource definitions are in a file of their own. Secrets are never in these
// files.
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

// Input is what a fleet asks for.
type Input struct {
	// Traefik says that k3s runs traefik.
	Traefik bool
	// Twice are the add-ons among Doubled that are to run twice.
	Twice      []string
	EtcdBackup *EtcdBackup
	Longhorn   *Longhorn
	GitOps     *GitOps
	// Secrets are added to the cluster, besides those that the parts above need.
	Secrets []node.Secret
}

// New returns the seed, empty if the input asks for nothing.
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

// waiting are the files of a seed that must be applied after volumes are restored:
// applications would create empty volumes. The jobs come with them; those of the lost cluster
// are there before, as Longhorn's restore creates them at once.
var waiting = []string{rootFile, jobsFile}

// After is the seed for a cluster that restores volumes before anything else.
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

// LonghornVersion is the version that a seed installs, in Longhorn's notation.
func LonghornVersion() string { return "v" + longhornChart.Version }

// Chart is a Helm chart as a component of images: every server must have its File among k3s'
// static files.
type Chart struct{ Component, Version, File string }

var (
	longhornChart = Chart{"longhorn-chart", "1.12.1", "longhorn-1.12.1.tgz"}
	argocdChart   = Chart{"argocd-chart", "10.1.1", "argo-cd-10.1.1.tgz"}
)

// Charts are the charts that a seed of this input uses.
func Charts(in Input) (all []Chart) {
	if in.Longhorn != nil {
		all = append(all, longhornChart)
	}
	if in.GitOps != nil {
		all = append(all, argocdChart)
	}
	return all
}

// object is a Kubernetes object, a part of one, or a chart's values.
type object = map[string]any

type builder struct {
	node.Seed
	err error
}

// file adds a manifest after checking it.
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

// chart is a HelmChart for k3s' helm-controller. The chart is a file on every server, so it
// needs no repository and has no size limit. After a failed installation, for instance a
// power cut, failurePolicy reinstall makes the controller uninstall first, which with
// Longhorn would delete all volumes; abort makes it wait for a person. The timeout is for
// hooks, which may have to unpack an image of 500 MB on a slow disk.
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

// defaults are the embedded values of a chart.
func (b *builder) defaults(name string, text []byte) object {
	var values object
	if err := yaml.Unmarshal(text, &values); err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", name, err)
	}
	return values
}

// under returns a part of values, which must exist.
func under(values object, key string) object { return values[key].(object) }
