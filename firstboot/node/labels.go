package node

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	labelName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$`)
)

// fromSite are the labels that say where a node is. firstboot writes them.
var fromSite = []string{"topology.kubernetes.io/region", "topology.kubernetes.io/zone"}

// olderFromSite are the older names of fromSite. The cluster gives them the same values.
var olderFromSite = []string{"failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone"}

// fromMachine are labels that the kubelet determines itself. It would accept other values, but then
// whatever relies on these labels would find no node, or the wrong one: local volumes go by the
// node's name, images by its architecture.
var fromMachine = []string{
	"kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
}

// checkLabel refuses labels that firstboot sets.
func checkLabel(name, value string) error {
	switch {
	case !isLabelName(name):
		return fmt.Errorf("is not a label name of Kubernetes ([prefix/]name)")
	case !labelValue.MatchString(value):
		return fmt.Errorf("has a value no label of Kubernetes can have")
	case slices.Contains(fromSite, name):
		return errFromSite
	}
	return nil
}

var errFromSite = errors.New("comes from site: remove it")

// checkOwnLabel refuses labels that the cluster or the kubelet sets, and those with which the
// kubelet does not start: k3s passes them to it as --node-labels. See RefuseAtHome.
func checkOwnLabel(name string) error {
	switch {
	case slices.Contains(olderFromSite, name):
		return errFromSite
	case slices.Contains(fromMachine, name):
		return fmt.Errorf("is what the node finds out itself: remove it")
	case !kubeletMaySet(name):
		return fmt.Errorf("no node may give itself this label, and its k3s would not start: take a name of your own, like example.net/%[1]s, or node.kubernetes.io/%[1]s; or set it from outside, when the node has joined: kubectl label node", name[strings.Index(name, "/")+1:])
	}
	return nil
}

// isLabelName follows the syntax of Kubernetes' label keys ("Labels and Selectors").
func isLabelName(name string) bool {
	prefix, base, ok := strings.Cut(name, "/")
	if !ok {
		prefix, base = "", name
	}
	return (!ok || dnsName.MatchString(prefix)) && labelName.MatchString(base)
}

// kubeletMaySet is the kubelet's own rule for --node-labels (Kubernetes 1.36,
// pkg/kubelet/apis/well_known_labels.go, IsKubernetesLabel and IsKubeletLabel), except for the
// labels above: a label in one of Kubernetes' own domains must be in a namespace meant for the
// kubelet. Without the rule a stolen node could label itself a server.
func kubeletMaySet(name string) bool {
	prefix, _, _ := strings.Cut(name, "/")
	if !strings.Contains(name, "/") || !within(prefix, "kubernetes.io", "k8s.io") {
		return true
	}
	return within(prefix, "kubelet.kubernetes.io", "node.kubernetes.io") || name == "beta.kubernetes.io/instance-type"
}

// within reports whether name is one of the domains, or below one of them.
func within(name string, domains ...string) bool {
	return slices.ContainsFunc(domains, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}

func checkTaint(s string) error {
	spec, effect, ok := cutLast(s, ":")
	key, value, _ := strings.Cut(spec, "=")
	if !ok || (effect != "NoSchedule" && effect != "PreferNoSchedule" && effect != "NoExecute") || !isLabelName(key) || !labelValue.MatchString(value) {
		return fmt.Errorf("want KEY=VALUE:EFFECT with effect NoSchedule, PreferNoSchedule or NoExecute")
	}
	return nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
