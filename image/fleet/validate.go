package fleet

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/timezone"
)

type checker struct {
	*strictyaml.Findings
	fleet *Fleet
	said  map[string]bool // see retell
}

func validate(doc *strictyaml.Document, f *Fleet) error {
	if f.Version == 0 {
		return doc.Errorf([]string{"version"}, "is missing; write \"version: %d\"", Version)
	}
	if f.Version != Version {
		return doc.Errorf([]string{"version"}, "is %d, this program reads %d", f.Version, Version)
	}
	c := &checker{doc.Findings(), f, map[string]bool{}}
	c.cluster()
	c.sites()
	c.images()
	c.storage()
	boards := c.boards()
	for _, name := range f.Nodes.Names {
		c.node(name, boards)
	}
	return c.Err()
}

// userName matches the names that Headscale accepts (0.29, hscontrol/util,
// ValidateUsername).
var userName = regexp.MustCompile(`^\pL[\pL\p{Nd}@._-]*$`)

func (c *checker) cluster() {
	cl := &c.fleet.Cluster
	if err := node.CheckHostname(cl.Name); err != nil {
		c.Refuse([]string{"cluster", "name"}, "%v", err)
	}
	if err := node.CheckURL(cl.Headscale.URL); err != nil {
		c.Refuse([]string{"cluster", "headscale", "url"}, "%v", err)
	}
	if u := cl.Headscale.User; len(u) < 2 || !userName.MatchString(u) || strings.Count(u, "@") > 1 {
		c.Refuse([]string{"cluster", "headscale", "user"}, "want a user of Headscale: two letters, digits, -, ., _ or one @ at least, the first a letter")
	}
	if cl.K3s.Token.Empty() {
		c.Refuse([]string{"cluster", "k3s", "token"}, "is missing: where the servers' token is")
	}
	if cl.K3s.AgentToken.Empty() && c.has(node.Agent) {
		c.Refuse([]string{"cluster", "k3s", "agentToken"}, "is missing: agents must not have the servers' token, which opens everything")
	}
	c.control()
	c.k3s()
	c.longhorn()
	c.gitops()
	c.secrets()
	c.names()
	switch servers := c.fleet.Servers(); {
	case len(servers) == 0:
		c.Refuse([]string{"nodes"}, "has no node with role server")
	case !slices.Contains(servers, cl.K3s.Init):
		c.Refuse([]string{"cluster", "k3s", "init"}, "%s", unknown(cl.K3s.Init, "server", servers))
	}
}

func (c *checker) has(role node.Role) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(c.fleet.Nodes.by)), func(n Node) bool { return n.Role.In() == role })
}

// unknown says that a name is not among known, and suggests a similar one.
func unknown(name, kind string, known []string) string {
	if near := nearest.Name(name, known); near != "" {
		return fmt.Sprintf("%q is no %s of this file (did you mean %q?)", name, kind, near)
	}
	return fmt.Sprintf("%q is no %s of this file (known: %s)", name, kind, strings.Join(known, ", "))
}

const noProxy = "is for who has a proxy, and there is none here"

func (c *checker) sites() {
	for _, name := range slices.Sorted(maps.Keys(c.fleet.Sites)) {
		if err := node.CheckHostname(name); err != nil {
			c.Refuse([]string{"sites", name}, "%v", err)
		}
		if err := timezone.Check(c.fleet.Sites[name].Timezone); err != nil {
			c.Refuse([]string{"sites", name, "timezone"}, "%v", err)
		}
		if n := c.fleet.Sites[name].Network; len(n.NoProxy) > 0 && n.Proxy.Empty() {
			c.Refuse([]string{"sites", name, "network", "noProxy"}, noProxy)
		}
		for i, lan := range c.fleet.Sites[name].LAN {
			if p, err := netip.ParsePrefix(lan); err != nil || p != p.Masked() {
				c.Refuse([]string{"sites", name, "lan", strconv.Itoa(i)}, "want a network, like 192.168.1.0/24")
			}
		}
	}
}

// images refuses container images for a board that no node has, or only nodes that run
// Headscale: no disk image would carry them.
func (c *checker) images() {
	var used, controls []string
	for _, name := range c.fleet.Nodes.Names {
		if n := c.fleet.Nodes.by[name]; n.Role.Controls() {
			controls = append(controls, n.Board)
		} else {
			used = append(used, n.Board)
		}
	}
	slices.Sort(used)
	used = slices.Compact(used)
	for _, board := range slices.Sorted(maps.Keys(c.fleet.Images)) {
		switch {
		case slices.Contains(used, board):
		case slices.Contains(controls, board):
			c.Refuse([]string{"images", board}, "only a node that runs Headscale has this board; that runs no pods, so its image carries none")
		default:
			c.Refuse([]string{"images", board}, "%s", unknown(board, "board of a node", used))
		}
		if i, err := reference.Problem(c.fleet.Images[board]); err != nil {
			c.Refuse([]string{"images", board, strconv.Itoa(i)}, "%v", err)
		}
	}
}

func (c *checker) node(name string, boards []string) {
	n := c.fleet.Nodes.by[name]
	at := []string{"nodes", name}
	sites := slices.Sorted(maps.Keys(c.fleet.Sites))
	switch {
	case n.Site == "":
		c.Refuse(append(at, "site"), "is missing; one of %s", strings.Join(sites, ", "))
		return
	case !slices.Contains(sites, n.Site):
		c.Refuse(append(at, "site"), "%s", unknown(n.Site, "site", sites))
		return
	case boards != nil && n.Board == "":
		c.Refuse(append(at, "board"), "is missing; one of %s", strings.Join(boards, ", "))
		return
	case boards != nil && !slices.Contains(boards, n.Board):
		c.Refuse(append(at, "board"), "%s", unknownBoard(n.Board, boards))
	}
	if n.Role.Controls() && len(n.Role) > 1 && !(len(n.Role) == 2 && slices.Contains(n.Role, node.Witness)) {
		c.Refuse(append(at, "role"), "control goes with witness alone: whoever runs Headscale is open to the world")
		return
	}
	if n.Role.In() == node.Control {
		c.outside(n, at)
	}
	if len(n.Role) > 1 && !n.Role.Controls() {
		c.Refuse(append(at, "role"), "want one role, or [control, witness]")
		return
	}
	if len(n.Network.NoProxy) > 0 && c.fleet.Sites[n.Site].Network.overlaid(n.Network).Proxy.Empty() {
		c.Refuse(append(at, "network", "noProxy"), noProxy)
	}
	if m := n.Machine; m.CPUs < 0 || m.MemoryGiB < 0 || m.DiskGiB < 0 || m.CPUs > 1024 || m.MemoryGiB > 16384 || m.DiskGiB > 1<<20 {
		c.Refuse(append(at, "machine"), "want how large it is, like {cpus: 4, memoryGiB: 16}")
	}
	c.flags(n.K3s.Config, n.Role.In(), at...)
	c.common(n, at)
	c.trial(name, at)
}

// outside refuses settings for nodes of the cluster on a node outside of it.
func (c *checker) outside(n Node, at []string) {
	for field, given := range map[string]bool{"k3s": len(n.K3s.Config) > 0, "labels": len(n.Labels) > 0, "taints": len(n.Taints) > 0, "longhorn": n.Longhorn != node.Longhorn{}} {
		if given {
			c.Refuse(append(at, field), "is for nodes of the cluster, which this one is not")
		}
	}
}

// common refuses a server's own value of a flag that must be equal on all servers: k3s would
// refuse it, long after the card was shipped.
func (c *checker) common(n Node, at []string) {
	if !n.Role.In().Votes() {
		return
	}
	all := c.fleet.Cluster.K3s.Config
	refused := ""
	for _, name := range node.Unlike(node.Settings(all).Flags().Alike(), node.Settings(overlay(all, n.K3s.Config)).Flags().Alike()) {
		flag := node.FlagOf(name)
		if _, own := n.K3s.Config[flag]; own && flag != refused {
			c.Refuse(slices.Concat(at, []string{"k3s", "config", flag}), "%s is the same for all servers: write it under cluster: k3s: config", name)
			refused = flag
		}
	}
}

// control requires that at most one machine runs Headscale, and that it has the keys for the
// first contact.
func (c *checker) control() {
	var all []string
	for _, name := range c.fleet.Nodes.Names {
		if c.fleet.Nodes.by[name].Role.Controls() {
			all = append(all, name)
		}
	}
	if len(all) > 1 {
		c.Refuse([]string{"nodes", all[1], "role"}, "%s runs Headscale already: a tailnet has one", all[0])
	}
	c.server(len(all) > 0)
	if len(all) == 0 {
		return
	}
	server := c.fleet.Cluster.Headscale.Server
	for _, k := range []struct {
		name string
		ref  Ref
	}{{"hostKey", server.HostKey}, {"loginKey", server.LoginKey}} {
		if k.ref.Empty() {
			c.Refuse([]string{"cluster", "headscale", "server", k.name}, "is missing: %s runs Headscale, and is first met by it; %s", all[0], c.fleet.controlKey(k.name))
		}
	}
}

// server refuses settings for the fleet's own Headscale if no node runs it, and settings
// that exclude each other. The keys that "fleet init" makes may be there before the VPS is.
func (c *checker) server(runs bool) {
	s := c.fleet.Cluster.Headscale.Server
	at := func(field string) []string { return []string{"cluster", "headscale", "server", field} }
	asks := map[string]bool{"acme": s.ACME != "", "email": s.Email != ""}
	own := map[string]bool{"cert": !s.Cert.Empty(), "key": !s.Key.Empty()}
	for field, given := range asks {
		if given && own["cert"] {
			c.Refuse(at(field), "is for a Headscale that asks an authority for its certificate; this one has its own (cert)")
		}
	}
	for field, other := range map[string]string{"cert": "key", "key": "cert"} {
		if own[field] && !own[other] && runs {
			c.Refuse(at(other), "is missing: a certificate and its key go together")
		}
	}
	if runs {
		return
	}
	maps.Copy(asks, own)
	asks["backup"] = s.Backup != Backup{}
	for field, given := range asks {
		if given {
			c.Refuse(at(field), "is for a node that runs Headscale, and none does: give one the role control, or leave this out")
		}
	}
}

// controlKey says how to refer to one of the keys that "fleet init" made.
func (f *Fleet) controlKey(name string) string {
	file := SecretsDir + "/" + controlFiles[name]
	for form, file := range map[string]string{"file": file, "age": file + ".age"} {
		if _, err := os.Stat(within(f.dir, file)); err == nil {
			return fmt.Sprintf("write below cluster: headscale: server: %s: {%s: %s}", name, form, file)
		}
	}
	return "make one with: ssh-keygen -t ed25519 -N '' -f " + file
}

// controlFiles are Init's file names for the keys that Server refers to.
var controlFiles = map[string]string{"hostKey": "control-host.key", "loginKey": "control-login.key"}

// trial checks the node.yaml that the node would get by node.yaml's own rules. It does not
// read secrets, but uses a placeholder that satisfies every rule.
func (c *checker) trial(name string, at []string) {
	f := *c.fleet
	// Secrets and names were checked in place; the certificates and keys have a format that
	// the placeholder lacks.
	f.Cluster.Secrets, f.Cluster.Names = nil, Names{}
	own := f.Cluster.Headscale.Server
	f.Cluster.K3s.CA, f.Cluster.Headscale.CA, f.Cluster.Headscale.Server = Ref{}, Ref{}, Server{ACME: own.ACME, Email: own.Email, Backup: own.Backup}
	cfg, err := f.answer(name, placeholder)
	if err != nil {
		c.Refuse(at, "%v", err)
		return
	}
	cfg.Timezone = "" // checked in place
	data, err := node.Marshal(cfg)
	if err == nil {
		err = judge(name, data)
	}
	var problems strictyaml.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			if c.told(p.Field) {
				continue
			}
			c.retell(c.source(name, p.Field), p.Msg)
		}
	case err != nil:
		c.Refuse(at, "%v", err)
	}
}

// judge says why a node would refuse a node.yaml, or should not get it.
func judge(name string, data []byte) error {
	cfg, err := node.Load(name, data)
	if err != nil {
		return err
	}
	doc, err := strictyaml.Parse(name, data)
	if err != nil {
		return err
	}
	found := doc.Findings()
	cfg.RefuseAtHome(found)
	return found.Err()
}

// told says whether a problem of a node.yaml was reported in its place in fleet.yaml
// already.
func (c *checker) told(field string) bool {
	switch field {
	case "control.cert": // it is checked when it is read, and an invalid URL has none
		return !c.fleet.Cluster.Headscale.Server.Cert.Empty() || node.CheckURL(c.fleet.Cluster.Headscale.URL) != nil
	case "k3s.servers":
		return len(c.fleet.Servers()) == 0
	}
	return false
}

// placeholder stands for every secret while fleet.yaml is checked.
func placeholder(Ref) (secret.String, error) { return "http://placeholder", nil }
