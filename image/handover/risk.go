package handover

import (
	"fmt"
	"strings"
)

// forCards are fields that a node cannot change: it is another one then.
var forCards = map[string]string{
	"role":            "",
	"board":           "",
	"dataDisk":        ", with its data",
	"longhorn.disk":   ", with its volumes: Longhorn moves them by its own means",
	"storage.encrypt": ", without data: it is encrypted from the beginning or not at all",
}

// cuts are fields, or what they begin with, by which a node may be lost to who changes
// them from afar.
var cuts = []struct{ field, words string }{
	{"headscale.", "if it is wrong, the node leaves the tailnet, and its page or its card must mend it"},
	{"network.", "if it is wrong, nobody reaches the node, and its card must mend it"},
	{"control.", "if it is wrong, no node reaches another"},
	{"ownerKey", "from then on nothing counts but what the other key signs"},
	{"k3s.token", "a server starts with no other token than its cluster has: 'k3s token rotate' on one of them comes first"},
}

// risks says what may come of changing fields, and what must not be changed at all.
func risks(fields []string) (words []string, against string) {
	for _, f := range fields {
		if rest, ok := forCards[f]; ok {
			return nil, fmt.Sprintf("%s cannot change on a node that runs: make a new card (imagebuilder replace)%s", f, rest)
		}
		for _, c := range cuts {
			if f == strings.TrimSuffix(c.field, ".") || strings.HasSuffix(c.field, ".") && strings.HasPrefix(f, c.field) {
				words = append(words, f+": "+c.words)
			}
		}
	}
	return words, ""
}
