package fleet

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Names are what applications are called in the tailnet.
type Names struct {
	// Domain of the names; default the cluster's name below the domain of Headscale's address.
	Domain string `yaml:"domain"`
	// Hosts are the first labels of the names, such as nextcloud. The fleet's own Headscale
	// resolves them to the nodes that accept requests.
	Hosts []string `yaml:"hosts"`
}

// ErrNoDomain says that no domain for applications is known.
var ErrNoDomain = errors.New("is missing, and the address of your Headscale has no domain in which names of applications could be: a domain, like apps.example.net")

// Domain is the domain of the applications' names: the one in fleet.yaml, else the cluster's
// name below the domain of Headscale's address, which belongs to the same owner. If there is
// neither, the error is ErrNoDomain.
func (f *Fleet) Domain() (string, error) {
	if d := f.Cluster.Names.Domain; d != "" {
		return d, nil
	}
	parent := f.headscaleHost()
	if _, err := netip.ParseAddr(parent); err == nil || !strings.Contains(parent, ".") {
		return "", ErrNoDomain
	}
	if rest := parent[strings.Index(parent, ".")+1:]; strings.Contains(rest, ".") {
		parent = rest
	}
	return f.Cluster.Name + "." + parent, nil
}

// headscaleHost is the host in Headscale's address, "" if the address is invalid.
func (f *Fleet) headscaleHost() string {
	u, err := url.Parse(f.Cluster.Headscale.URL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Applications are the applications' full names, and the nodes that they resolve to: agents,
// and servers that run more than k3s' own pods. k3s' servicelb would accept requests on the
// other servers, too, for a traefik that never runs there.
func (f *Fleet) Applications() (out node.Names) {
	domain, err := f.Domain()
	if err != nil || len(f.Cluster.Names.Hosts) == 0 {
		return out
	}
	for _, host := range f.Cluster.Names.Hosts {
		out.Hosts = append(out.Hosts, host+"."+domain)
	}
	for _, name := range f.Nodes.Names {
		n := f.Nodes.by[name]
		if role := n.Role.In(); role == node.Agent || role == node.Server && !slices.Contains(f.Taints(n), workTaint) {
			out.Nodes = append(out.Nodes, name)
		}
	}
	return out
}

// names checks the names of applications.
func (c *checker) names() {
	n, at := c.fleet.Cluster.Names, []string{"cluster", "names"}
	domain, err := c.fleet.Domain()
	if n.Domain == "" && len(n.Hosts) == 0 {
		return
	}
	if err == nil {
		err = node.CheckDomain(domain)
	}
	if err != nil {
		c.Refuse(append(at, "domain"), "%v", err)
		return
	}
	for i, host := range n.Hosts {
		at := append(at, "hosts", strconv.Itoa(i))
		if err := node.CheckHostname(host); err != nil {
			c.Refuse(at, "%v", err)
		} else if err := node.CheckName(host+"."+domain, c.fleet.headscaleHost()); err != nil {
			c.Refuse(at, "%v", err)
		}
		if slices.Contains(n.Hosts[:i], host) {
			c.Refuse(at, "is there twice")
		}
		if _, taken := c.fleet.Nodes.by[host]; taken && domain == contract.TailnetDomain {
			c.Refuse(at, "is a node's name in that domain")
		}
	}
	if len(n.Hosts) > 0 && len(c.fleet.Applications().Nodes) == 0 {
		c.Refuse(append(at, "hosts"), "lead nowhere: there is no agent, and no server does work")
	}
}
