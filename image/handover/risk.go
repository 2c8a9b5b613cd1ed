package handover

import (
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// forCards are fields that a running node cannot change: they make it a different node.
var forCards = map[string]string{
	"role":            "",
	"board":           "",
	"headscale.url":   ": it stays a member where it has joined, by the name of then; with that url: in fleet.yaml its other changes reach it",
	"dataDisk":        ", with its data",
	"longhorn.disk":   ", with its volumes: Longhorn moves them by its own means",
	"storage.encrypt": ", without data: it is encrypted from the beginning or not at all (storage: {encrypt: false} beside its role leaves it as it is)",
}

// cuts are fields, or prefixes of fields ending in ".", by which a remote change may cut a
// node off or stop its k3s.
var cuts = []field{
	{"headscale.", "if it is wrong, the node leaves the tailnet, and its page or its card must mend it"},
	{"network.", "if it is wrong, nobody reaches the node, and its card must mend it"},
	{"ssh.authorizedKeys", "without a key of yours among them nobody mends the node but by its card"},
	{"control", lost}, // Headscale comes or goes; nodes with an older image say no more than this of any change of it
	{"control.acme", lost},
	{"control.cert", lost},
	{"control.key", lost},
	{"ownerKey", "from then on nothing counts but what the other key signs"},
	{"files", "they may say anything to systemd, the network and k3s"},
	{"k3s.token", "a server starts with no other token than its cluster has: 'k3s token rotate' on one of them comes first"},
	{"k3s.agentToken", "agents that do not get it, too, are out when they start again"},
	{"k3s.config", "with a setting that it does not know k3s does not start"},
}

const lost = "if it is wrong, no node reaches another"

// halves are fields whose changes a node applies only in part.
var halves = []field{
	{"k3s.labels", "a label that is gone from it stays in the cluster: kubectl label node NODE KEY-"},
	{"k3s.taints", "k3s asks for them once, when the node is new: kubectl taint node NODE ..."},
	{"files", "one that is gone from the list stays on the node"},
	{"k3s.seed.manifests", "what is gone from them goes on in the cluster; where cluster: gitops: was taken away, this ends it, and what it made stays: " +
		"kubectl -n argocd delete application root; kubectl -n kube-system delete helmchart argocd"},
	{"k3s.seed.manifests", "volumes that are there keep what the storage class had when they were made, as the number of replicas: kubectl -n longhorn-system patch volumes.longhorn.io NAME --type merge -p '{\"spec\":{\"numberOfReplicas\":2}}'"},
}

// again are steps whose repetition affects more than what changed.
var again = []field{
	{"secrets", "every Secret of fleet.yaml gets what its file at home has, also one that was changed in the cluster; " +
		"pods keep what it had when they started: kubectl -n NAMESPACE rollout restart deploy/NAME"},
	{"secrets", "one that is gone from fleet.yaml stays in the cluster: kubectl -n NAMESPACE delete secret NAME"},
}

// raises returns what is to be said of charts that change to another version. Longhorn's
// cannot be taken back, and restarts what its volumes are attached by.
func raises(charts []contract.ChartChange) (risks, notes []string) {
	for _, c := range charts {
		words := fmt.Sprintf("k3s.seed.manifests: the chart %s takes the place of %s", contract.PlainLine(c.To), contract.PlainLine(c.From))
		if strings.HasPrefix(c.To, "longhorn-") {
			risks = append(risks, words+". Longhorn does not go back to an older version: every volume must be whole and have a backup first (imagebuilder status --doctor)")
			continue
		}
		notes = append(notes, words)
	}
	return risks, notes
}

type field struct{ name, words string }

// of finds the words for a field.
func of(all []field, path string) (words []string) {
	for _, f := range all {
		if path == f.name || strings.HasSuffix(f.name, ".") && strings.HasPrefix(path, f.name) {
			words = append(words, path+": "+f.words)
		}
	}
	return words
}

// risks returns what may go wrong when the fields at paths change (risks), what will not
// take effect or has further effects, also by repeating steps (notes), and why the change is
// not allowed at all (against, "" if it is).
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
