package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// shipping is how long a letter may take, including a holiday.
const shipping = 7 * 24 * time.Hour

// What an idle node with a real k3s 1.36 writes per day, in GB: measured in QEMU.
const (
	serverGBaDay = 7.4
	agentGBaDay  = 1.4
	// enduresTB is how much can be written to a common 32 GB card before cells fail.
	enduresTB = 10
)

// warnings lists what will cause trouble, the worst first.
func warnings(f *fleet.Fleet, p *Plan) []Warning {
	var out []Warning
	for _, check := range []func(*fleet.Fleet, *Plan) []Warning{
		quorum, noLogin, acrossSites, tooSmall, onCards, headscaleCopy, controlURL, addresses, keyExpiry, sites, lookalikes, latest, plainSnapshots, names, sticks, unlocking, behindProxy,
	} {
		out = append(out, check(f, p)...)
	}
	return out
}

func one(code, summary, remedy string) []Warning { return []Warning{{code, summary, remedy}} }

// noLogin: running nodes are managed over the owner's ssh, and a node without a login key
// can get one only with a new card.
func noLogin(f *fleet.Fleet, _ *Plan) []Warning {
	shut := f.Shut()
	if len(shut) == 0 {
		return nil
	}
	return one("no-login", fmt.Sprintf("Nobody can log in to %s: status, apply, update, unlock and revoke do nothing there, and a node that has joined so gets a key at its card alone.", strings.Join(shut, ", ")),
		"Write your public key below cluster, before the first card: ssh: {authorizedKeys: [ssh-ed25519 AAAA… me@laptop]}.")
}

// quorum: etcd needs more than half of its members (etcd.io, "Why an odd
// number of cluster members?").
func quorum(_ *fleet.Fleet, p *Plan) []Warning {
	voters := p.all(node.Server, node.Witness)
	if len(voters) < 2 || len(voters)%2 == 1 {
		return nil
	}
	if len(voters) == 2 {
		return one("quorum", fmt.Sprintf("Two servers are worse than one: when either %s or %s is away, the cluster stops.", voters[0].Name, voters[1].Name),
			"Add a third voter at a third place, such as a witness on the VPS (role: witness), or make one of them an agent.")
	}
	return one("quorum", fmt.Sprintf("%d voters bear the loss of no more than %d do.", len(voters), len(voters)-1),
		"Make the number of servers and witnesses odd.")
}

// acrossSites: docs.k3s.io, "Hybrid/Multicloud cluster": embedded etcd is
// supported in one location only.
func acrossSites(_ *fleet.Fleet, p *Plan) []Warning {
	if p.sitesWith(node.Server, node.Witness) < 2 {
		return nil
	}
	return one("etcd-wan", "The servers' data store spans several places, which k3s' authors do not support; with the timings of our images it bears round trips up to about 500 ms and pauses of a few seconds.",
		"Measure the way between the places (tailscale ping). Slower or unsteady ways want all servers at one place.")
}

// serverMemory in bytes is k3s' minimum for a server (docs.k3s.io, "Requirements"); an idle
// server uses half of it.
const serverMemory = 2 << 30

// tooSmall: a node that runs out of memory is as bad as a node that is down, and it does so
// again after it comes back.
func tooSmall(_ *fleet.Fleet, p *Plan) []Warning {
	var out []Warning
	for _, n := range p.all(node.Server) {
		if n.small {
			out = append(out, Warning{"memory", fmt.Sprintf("%s is a server on a %s, some of which have too little memory for one: it takes 2 GB.", n.Name, n.Title),
				"Make it an agent or a witness, or take a larger board."})
		}
	}
	return out
}

// onCards: every change in the cluster is an fsync in etcd. The boards that run from a card
// are the Raspberry Pis. None of them was seen to boot from anything else (untested: of
// their files), so the card stays, and a data disk should take the writes.
func onCards(_ *fleet.Fleet, p *Plan) []Warning {
	var out []Warning
	for _, n := range p.all(node.Server, node.Witness) {
		if n.Card && n.DataDisk == "" {
			out = append(out, Warning{"etcd-card", fmt.Sprintf("%s keeps etcd on its SD card: about %.1f GB a day, so a common card lasts some %d months, and its pauses stop the cluster.", n.Name, serverGBaDay, months(serverGBaDay)),
				"Give it a USB SSD as dataDisk; it goes on starting from the card."})
		}
	}
	for _, n := range p.all(node.Agent) {
		if n.Card && n.DataDisk == "" {
			out = append(out, Warning{"card-life", fmt.Sprintf("%s lives from an SD card: about %.1f GB a day, so a common card lasts some %d months.", n.Name, agentGBaDay, months(agentGBaDay)),
				"Give it a USB SSD as dataDisk, or use a card made for surveillance cameras."})
		}
	}
	return out
}

func months(perDay float64) int { return int(enduresTB * 1000 / perDay / 30) }

// controlURL: a tailscaled that dials again within two minutes uses https on port 443 in
// place of a plain http address; private addresses are exempt (tailscale 1.102,
// controlhttp).
func controlURL(f *fleet.Fleet, _ *Plan) []Warning {
	u, err := url.Parse(f.Cluster.Headscale.URL)
	if err != nil || u.Scheme != "http" {
		return nil
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && (ip.IsPrivate() || ip.IsLoopback()) {
		return nil
	}
	return one("plain-http", "Headscale is reached without encryption, and nodes lose it when they reconnect.", "Give it a certificate and an https address.")
}

// taken are the networks that every node uses already.
func taken(f *fleet.Fleet) map[string][]netip.Prefix {
	k3s := node.Settings(f.Cluster.K3s.Config)
	return map[string][]netip.Prefix{
		"the pods' network (cluster-cidr)":     k3s.PodNetworks(),
		"the services' network (service-cidr)": k3s.ServiceNetworks(),
		"the tailnet":                          {netip.MustParsePrefix(contract.TailnetNetwork)},
	}
}

// overlap finds the first pair of networks that overlap.
func overlap(a, b []netip.Prefix) (one, other netip.Prefix, found bool) {
	for _, p := range a {
		for _, q := range b {
			if p.Overlaps(q) {
				return p, q, true
			}
		}
	}
	return one, other, false
}

func addresses(f *fleet.Fleet, p *Plan) []Warning {
	var out []Warning
	nets := taken(f)
	for _, s := range p.Sites {
		for _, lan := range s.LAN {
			own := []netip.Prefix{netip.MustParsePrefix(lan)} // the fleet was validated
			for _, what := range slices.Sorted(maps.Keys(nets)) {
				if _, theirs, found := overlap(own, nets[what]); found {
					out = append(out, Warning{"overlap", fmt.Sprintf("The network %s of %s overlaps %s, %s: machines there cannot be reached.", lan, s.Name, what, theirs),
						"Use other addresses at that place, or set cluster-cidr and service-cidr under cluster: k3s: config."})
				}
			}
		}
	}
	for _, pair := range [][2]string{{"the pods' network (cluster-cidr)", "the services' network (service-cidr)"}, {"the pods' network (cluster-cidr)", "the tailnet"}, {"the services' network (service-cidr)", "the tailnet"}} {
		if first, _, found := overlap(nets[pair[0]], nets[pair[1]]); found {
			out = append(out, Warning{"overlap", fmt.Sprintf("%s, %s, overlaps %s.", pair[0], first, pair[1]), "Choose other networks under cluster: k3s: config."})
		}
	}
	return out
}

func keyExpiry(f *fleet.Fleet, _ *Plan) []Warning {
	if d := time.Duration(f.Cluster.Headscale.KeyExpiry); d < shipping {
		return one("key-expiry", fmt.Sprintf("Keys expire %d hours after a card is written: one that is held up in the post is worthless.", int(d.Hours())), "Set cluster: headscale: keyExpiry to 14d or more.")
	}
	return nil
}

func sites(f *fleet.Fleet, p *Plan) []Warning {
	var out []Warning
	if len(p.Sites) == 1 {
		out = append(out, Warning{"single-site", "All nodes are at one place: a fire, a thief or a power cut takes everything.", "Put one node elsewhere, or back up to elsewhere."})
	}
	for _, s := range p.Sites {
		switch {
		case len(s.Nodes) == 0:
			out = append(out, Warning{"empty-site", fmt.Sprintf("%s has no node.", s.Name), "Remove the site, or give it one."})
		case p.sitesWith(node.Agent) > 0 && !has(s, node.Agent) && has(s, node.Server):
			out = append(out, noAgents(f, s)...)
		}
	}
	return out
}

// noAgents: only agents hold volumes, whatever else runs workloads.
func noAgents(f *fleet.Fleet, s Site) []Warning {
	busy := slices.ContainsFunc(s.Nodes, func(at Node) bool {
		n, _ := f.Nodes.Get(at.Name)
		return works(n.Role.In(), f.Taints(n))
	})
	switch {
	case !busy:
		return one("no-agents", fmt.Sprintf("%s has no agent: no work can run there, and no copy of a volume.", s.Name), "Add an agent, or let its server do work (cluster: k3s: workOnServers: true), which keeps no volumes.")
	case f.Cluster.Longhorn != nil:
		return one("no-agents", fmt.Sprintf("%s has no agent: its server does work, but no copy of a volume is kept there.", s.Name), "Add an agent there, if that work must keep its volumes while the way to the other places is broken.")
	}
	return nil
}

func has(s Site, role node.Role) bool {
	for _, n := range s.Nodes {
		if n.Role == role {
			return true
		}
	}
	return false
}

// lookalikes: Headscale calls a second node with the same name "name-1".
func lookalikes(f *fleet.Fleet, _ *Plan) []Warning {
	var out []Warning
	for _, name := range f.Nodes.Names {
		base, digits, ok := cutLast(name, "-")
		if _, known := f.Nodes.Get(base); ok && known && digits != "" && strings.Trim(digits, "0123456789") == "" {
			out = append(out, Warning{"lookalike", fmt.Sprintf("%s is what Headscale calls a second %s.", name, base), "Give it another name."})
		}
	}
	return out
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// plainSnapshots: an etcd snapshot contains every Secret of the cluster, unencrypted unless
// secrets-encryption is on.
func plainSnapshots(f *fleet.Fleet, _ *Plan) []Warning {
	if f.Cluster.K3s.Backup == nil || slices.Contains(node.Settings(f.Cluster.K3s.Config).List("secrets-encryption"), "true") {
		return nil
	}
	return one("plain-snapshots", "Whoever reads the bucket of etcd's snapshots reads every Secret of the cluster.",
		"Write secrets-encryption: true under cluster: k3s: config. On a cluster that runs, follow \"k3s secrets-encrypt\" first: all servers must agree.")
}

// names: application names need a Headscale that serves them, and an ingress that listens.
func names(f *fleet.Fleet, p *Plan) []Warning {
	if len(p.Names) == 0 {
		return nil
	}
	if f.Control() == "" {
		return one("names", "Somebody else runs your Headscale, so nobody leads the applications' names to the nodes.",
			"Have them added there (dns: extra_records), or give each name the addresses of "+strings.Join(p.LeadTo, ", ")+" in a DNS zone of yours.")
	}
	off := strings.Split(strings.Join(node.Settings(f.Cluster.K3s.Config).List("disable"), ","), ",") // a list, or one text (docs.k3s.io)
	for _, addon := range []string{"traefik", "servicelb"} {
		if slices.Contains(off, addon) {
			return one("names", "The applications' names lead to nodes on which nobody listens: k3s' "+addon+" is switched off.",
				"Let k3s run it (cluster: k3s: config: disable), or let something of your own take requests in on "+strings.Join(p.LeadTo, ", ")+".")
		}
	}
	return nil
}

// unlocking: if the last share is lost, so are the node's data, for their owner as well.
func unlocking(f *fleet.Fleet, _ *Plan) []Warning {
	alone := map[string][]string{}
	for _, name := range f.Encrypted() {
		if open := f.OpenHolders(name); len(open) == 1 {
			alone[open[0]] = append(alone[open[0]], name)
		}
	}
	var out []Warning
	for _, holder := range slices.Sorted(maps.Keys(alone)) {
		nodes := strings.Join(alone[holder], ", ")
		out = append(out, Warning{"unlock", fmt.Sprintf("Only %s can unlock %s when all are switched on at once; without it, what is on their disks stays locked.", holder, nodes),
			"Back up volumes and etcd elsewhere (backup:), or let a server at yet another place be as it is (storage: {encrypt: false})."})
	}
	return out
}
