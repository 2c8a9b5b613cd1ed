package fleet

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// RoleTag is the Headscale tag of all nodes with a role. By the servers' tag a node knows to
// whom it may show its token.
func RoleTag(r node.Role) string { return "tag:k3s-" + string(r) }

// SiteTag is the Headscale tag of all nodes of a site.
func SiteTag(site string) string { return "tag:site-" + site }

// Tags are the tags that a node gets with its key.
func (n Node) Tags() []string { return []string{RoleTag(n.Role.In()), SiteTag(n.Site)} }

// tags lists all that the fleet uses, sorted.
func (f *Fleet) tags() []string {
	var out []string
	for _, r := range []node.Role{node.Server, node.Agent, node.Witness, node.Control} {
		out = append(out, RoleTag(r))
	}
	for site := range maps.Keys(f.Sites) {
		out = append(out, SiteTag(site))
	}
	slices.Sort(out)
	return out
}

// policy is Headscale's policy, in the format of Tailscale's policy file ("acls").
type policy struct {
	TagOwners map[string][]string `json:"tagOwners"`
	NodeAttrs []nodeAttr          `json:"nodeAttrs"`
	ACLs      []acl               `json:"acls"`
}

type nodeAttr struct {
	Target []string `json:"target"`
	Attr   []string `json:"attr"`
}

type acl struct {
	Action string   `json:"action"`
	Proto  string   `json:"proto,omitempty"`
	Src    []string `json:"src"`
	Dst    []string `json:"dst"`
}

// Policy returns the policy that the fleet needs from its Headscale, and no more: between
// nodes only k3s' traffic (docs.k3s.io, "Requirements", inbound rules); for the owner's own
// devices ssh, the API and the applications. The node attribute cache-network-maps
// (Headscale 0.29) lets nodes keep their addresses while Headscale is down.
func (f *Fleet) Policy() ([]byte, error) {
	text, err := json.MarshalIndent(f.policy(f.Cluster.K3s.ShareImages, len(f.Encrypted()) > 0), "", "  ")
	return append(text, '\n'), err
}

func (f *Fleet) policy(shareImages, encrypted bool) policy {
	owner := []string{f.Cluster.Headscale.User + "@"}
	servers, witness, agents := RoleTag(node.Server), RoleTag(node.Witness), RoleTag(node.Agent)
	all, voters := []string{servers, witness, agents}, []string{servers, witness}
	every := append(slices.Clone(all), RoleTag(node.Control))
	p := policy{
		TagOwners: map[string][]string{},
		NodeAttrs: []nodeAttr{{Target: every, Attr: []string{"cache-network-maps"}}},
		ACLs: []acl{
			{"accept", "tcp", all, ports("6443", servers, witness)}, // API and supervisor
			{"accept", "tcp", voters, ports("2379-2380", voters...)},
			{"accept", "tcp", all, ports("10250", all...)}, // kubelet
			{"accept", "udp", all, ports("8472", all...)},  // flannel's VXLAN
			{"accept", "icmp", all, ports("*", all...)},
			{"accept", "", owner, ports("22,80,443,6443", every...)},
			{"accept", "icmp", owner, ports("*", every...)},
		},
	}
	if shareImages { // docs.k3s.io, "Embedded Registry Mirror": peers discover each other on 5001, and serve on 6443
		p.ACLs = append(p.ACLs, acl{"accept", "tcp", all, ports("5001,6443", all...)})
	}
	if encrypted {
		p.ACLs = append(p.ACLs, acl{"accept", "tcp", every, ports(strconv.Itoa(contract.SharesPort), holderTags()...)})
	}
	for _, tag := range f.tags() {
		p.TagOwners[tag] = owner
	}
	return p
}

func ports(list string, tags ...string) []string {
	out := make([]string, len(tags))
	for i, t := range tags {
		out[i] = t + ":" + list
	}
	return out
}
