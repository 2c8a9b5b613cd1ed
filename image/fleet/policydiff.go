package fleet

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// PolicyDiff is how a server's policy differs from the fleet's.
type PolicyDiff struct {
	Same bool // but for order and format
	// Lost is what the fleet's policy would take away in its place, in lines.
	Lost []string
	// Lacks is what the server's policy has not of the fleet's, in lines.
	Lacks []string
}

// ComparePolicy compares the policy that a server has with the fleet's.
//
// Where nothing would be lost, it is empty, the fleet's, or an earlier one of this fleet. For
// what this program itself writes for the fleet does not count as lost: rules for other
// settings, and rules of its earlier versions. All else does, so also the tag of a site that
// fleet.yaml does not name: whether that was removed or is another fleet's, only the owner
// knows.
func (f *Fleet) ComparePolicy(present string) (*PolicyDiff, error) {
	ours, err := ownEntries(f.policy(f.Cluster.K3s.ShareImages, len(f.Encrypted()) > 0))
	if err != nil {
		return nil, err
	}
	own, err := ownEntries(f.policy(true, true), f.formerPolicy())
	if err != nil {
		return nil, err
	}
	theirs, err := policyEntries([]byte(present))
	if err != nil { // it has comments: this program writes none, so it is somebody's, and is compared as text
		text, err := f.Policy()
		mine, theirs := lines(string(text)), lines(present)
		return &PolicyDiff{Lost: without(theirs, mine), Lacks: without(mine, theirs)}, err
	}
	return &PolicyDiff{
		Same:  slices.Equal(ours, theirs),
		Lost:  without(theirs, slices.Concat(ours, own)),
		Lacks: without(ours, theirs),
	}, nil
}

// ownEntries are the entries of policies of this program.
func ownEntries(policies ...policy) ([]string, error) {
	var out []string
	for _, p := range policies {
		text, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		entries, err := policyEntries(text)
		if err != nil {
			return nil, err
		}
		out = append(out, entries...)
	}
	return out, nil
}

// formerPolicy has the rules of earlier versions of this program that today's lacks: until
// November 2026 there was no role control.
func (f *Fleet) formerPolicy() policy {
	owner := []string{f.Cluster.Headscale.User + "@"}
	all := []string{RoleTag(node.Server), RoleTag(node.Witness), RoleTag(node.Agent)}
	return policy{
		NodeAttrs: []nodeAttr{{Target: all, Attr: []string{"cache-network-maps"}}},
		ACLs:      []acl{{"accept", "", owner, ports("22,80,443,6443", all...)}, {"accept", "icmp", owner, ports("*", all...)}},
	}
}

// policyEntries lists what is in a policy, sorted: an entry for each element of a list ("acls")
// and each pair of an object ("tagOwners").
func policyEntries(text []byte) ([]string, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	var sections map[string]any
	if err := json.Unmarshal(text, &sections); err != nil {
		return nil, err
	}
	var out []string
	for name, section := range sections {
		for _, part := range parts(section) {
			line, err := json.Marshal(part) // sorts the keys
			if err != nil {
				return nil, err
			}
			out = append(out, name+": "+string(line))
		}
	}
	slices.Sort(out)
	return out, nil
}

// parts are the elements of a list, the pairs of an object, or a lone value.
func parts(section any) []any {
	switch s := section.(type) {
	case nil:
		return nil
	case []any:
		return s
	case map[string]any:
		var out []any
		for k, v := range s {
			out = append(out, map[string]any{k: v})
		}
		return out
	}
	return []any{section}
}

// lines are those of a text, without what only its format adds.
func lines(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		if l = strings.TrimSuffix(strings.TrimSpace(l), ","); strings.Trim(l, "{}[]") != "" {
			out = append(out, l)
		}
	}
	return out
}

// without are the elements of list that others has not.
func without(list, others []string) []string {
	var out []string
	for _, l := range list {
		if !slices.Contains(others, l) {
			out = append(out, l)
		}
	}
	return out
}
