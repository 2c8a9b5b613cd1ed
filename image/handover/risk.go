package handover

import (
	"fmt"
	"strings"
)

// forCards are fields that a node cannot change: it is another one then.
var forCards = map[string]string{
	"role":            "",
	"board":           "",
	"headscale.url":   ": it stays a member where it has joined",
	"dataDisk":        ", with its data",
	"longhorn.disk":   ", with its volumes: Longhorn moves them by its own means",
	"storage.encrypt": ", without data: it is encrypted from the beginning or not at all (storage: {encrypt: false} beside its role leaves it as it is)",
}

// cuts are fields, or what they begin with, by which a node may be lost to who changes
// them from afar, or its k3s stop.
var cuts = []field{
	{"headscale.", "if it is wrong, the node leaves the tailnet, and its page or its card must mend it"},
	{"network.", "if it is wrong, nobody reaches the node, and its card must mend it"},
	{"ssh.authorizedKeys", "without a key of yours among them nobody mends the node but by its card"},
	{"control.", "if it is wrong, no node reaches another"},
	{"ownerKey", "from then on nothing counts but what the other key signs"},
	{"files", "they may say anything to systemd, the network and k3s"},
	{"k3s.token", "a server starts with no other token than its cluster has: 'k3s token rotate' on one of them comes first"},
	{"k3s.agentToken", "agents that do not get it, too, are out when they start again"},
	{"k3s.config", "with a setting that it does not know k3s does not start"},
}

// halves are fields of which a node takes only a part.
var halves = []field{
	{"k3s.labels", "a label that is gone from it stays in the cluster: kubectl label node NODE KEY-"},
	{"k3s.taints", "k3s asks for them once, when the node is new: kubectl taint node NODE ..."},
	{"files", "one that is gone from the list stays on the node"},
	{"k3s.seed.manifests", "what is gone from them goes on in the cluster; where cluster: gitops: was taken away, this ends it, and what it made stays: " +
		"kubectl -n argocd delete application root; kubectl -n kube-system delete helmchart argocd"},
	{"k3s.seed.manifests", "volumes that are there keep the number of replicas that they have: kubectl -n longhorn-system patch volumes.longhorn.io NAME --type merge -p '{\"spec\":{\"numberOfReplicas\":2}}'"},
}

// again are steps that a node goes through with more than what changed.
var again = []field{
	{"secrets", "every Secret of fleet.yaml gets what its file at home has, also one that was changed in the cluster; " +
		"pods keep what it had when they started: kubectl -n NAMESPACE rollout restart deploy/NAME"},
	{"secrets", "one that is gone from fleet.yaml stays in the cluster: kubectl -n NAMESPACE delete secret NAME"},
}

type field struct{ name, words string }

// of finds what is said of a field.
func of(all []field, path string) (words []string) {
	for _, f := range all {
		if path == f.name || strings.HasSuffix(f.name, ".") && strings.HasPrefix(path, f.name) {
			words = append(words, path+": "+f.words)
		}
	}
	return words
}

// risks says what may come of changing fields, what of it does not come about, or more
// than that with the steps, and what must not be changed at all.
func risks(paths, steps []string) (risks, notes []string, against string) {
	for _, path := range paths {
		if rest, ok := forCards[path]; ok {
			return nil, nil, fmt.Sprintf("%s cannot change on a node that runs: make a new card (imagebuilder replace)%s", path, rest)
		}
		risks, notes = append(risks, of(cuts, path)...), append(notes, of(halves, path)...)
	}
	for _, step := range steps {
		notes = append(notes, of(again, step)...)
	}
	return risks, notes, ""
}
