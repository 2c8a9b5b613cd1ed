package node

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Names says which names applications have in the tailnet.
type Names struct {
	// Hosts are full names, like nextcloud.apps.example.net.
	Hosts []string `yaml:"hosts,omitempty"`
	// Nodes accept requests for all of Hosts. A name resolves to those of them that are in the
	// tailnet; if some of these are online, only to the online ones.
	Nodes []string `yaml:"nodes,omitempty"`
}

// Names returns the names that this node serves; none where it runs no Headscale.
func (c *Config) Names() Names {
	if c.Control == nil {
		return Names{}
	}
	return c.Control.Names
}

// wholeName has at least one dot: a name of one label is a node's.
var wholeName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckDomain accepts a DNS name of several labels (RFC 1123), in lower case.
func CheckDomain(s string) error {
	if len(s) > 253 || !wholeName.MatchString(s) {
		return fmt.Errorf("want small letters, digits and hyphens between dots, like apps.example.net, at most 253 characters (RFC 1123)")
	}
	return nil
}

// CheckName accepts a name that an application may have in a tailnet whose Headscale is at the host
// headscale. Members of the tailnet ask no other server for that name, nor for any name below it.
func CheckName(s, headscale string) error {
	if s == headscale || strings.HasSuffix(headscale, "."+s) {
		return fmt.Errorf("is the Headscale's own name, or above it: members of the tailnet would not find it any more")
	}
	return CheckDomain(s)
}

func (v *validator) names(c *Config) {
	n := c.Control.Names
	if (len(n.Hosts) == 0) != (len(n.Nodes) == 0) {
		v.refuse("control.names", "want hosts, and the nodes that take requests in for them")
	}
	for i, host := range n.Hosts {
		at := "control.names.hosts." + strconv.Itoa(i)
		v.want(at, CheckName(host, c.ControlHost()))
		if slices.Contains(n.Hosts[:i], host) {
			v.refuse(at, "is there twice")
		}
	}
	for i, name := range n.Nodes {
		v.want("control.names.nodes."+strconv.Itoa(i), CheckHostname(name))
	}
}
