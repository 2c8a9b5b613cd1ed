package node

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Names are what applications are called in the tailnet.
type Names struct {
	// Hosts are whole names, like nextcloud.apps.example.net.
	Hosts []string `yaml:"hosts,omitempty"`
	// Nodes take requests in for all of them. A name leads to those that are in the
	// tailnet, and where some are online, to these alone.
	Nodes []string `yaml:"nodes,omitempty"`
}

// Names are those that this node serves, none where it runs no Headscale.
func (c *Config) Names() Names {
	if c.Control == nil {
		return Names{}
	}
	return c.Control.Names
}

// wholeName has a dot at least: a name alone is a node's.
var wholeName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckDomain accepts a DNS name of several labels (RFC 1123), in lower case.
func CheckDomain(s string) error {
	if len(s) > 253 || !wholeName.MatchString(s) {
		return fmt.Errorf("want small letters, digits and hyphens between dots, like apps.example.net, at most 253 characters (RFC 1123)")
	}
	return nil
}

// CheckName accepts what an application may be called in a tailnet whose Headscale
// is at a host. Members ask nobody else for the name, nor for what is below it.
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
