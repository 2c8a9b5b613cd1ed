package fleet

import (
	"slices"
	"strconv"
	"strings"
)

// Refuse adds a finding about the field at path.
func (c *checker) Refuse(path []string, format string, args ...any) {
	c.said[strings.Join(path, "\n")] = true
	c.Findings.Refuse(path, format, args...)
}

// retell adds a problem that node.yaml's rules found in a field. One line of the cluster or
// a site appears in the files of many nodes, so each problem is added once. A field about
// which this package has complained already is skipped, as its own words are better.
func (c *checker) retell(path []string, msg string) {
	at := strings.Join(path, "\n")
	if c.said[at] || c.said[at+"\n"+msg] {
		return
	}
	c.said[at+"\n"+msg] = true
	c.Findings.Refuse(path, "%s", msg)
}

// source finds the field of fleet.yaml from which a field of a node's node.yaml was made.
func (c *checker) source(name, field string) []string {
	n, at := c.fleet.Nodes.by[name], []string{"nodes", name}
	if label, ok := strings.CutPrefix(field, "k3s.labels."); ok { // labels contain dots
		return append(at, "labels", label)
	}
	path := strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(field), ".")
	first, rest := path[0], path[1:]
	switch first {
	case "node":
		return at
	case "site":
		return []string{"sites", n.Site}
	case "ownerKey", "headscale":
		return append([]string{"cluster"}, path...)
	case "control":
		return append([]string{"cluster", "headscale", "server"}, rest...)
	case "page":
		return append([]string{"sites", n.Site}, path...)
	case "k3s":
		if len(rest) > 0 {
			return c.k3sSource(n, at, rest)
		}
	case "ssh":
		return c.sshSource(at, path)
	case "storage":
		if len(rest) > 0 {
			return c.storageSource(name, rest)
		}
	case "network":
		if !n.Network.has(rest) {
			at = []string{"sites", n.Site}
		}
	}
	return append(at, path...)
}

func (c *checker) k3sSource(n Node, at, path []string) []string {
	all := []string{"cluster", "k3s"}
	switch path[0] {
	case "taints":
		return append(at, path...)
	case "servers":
		return nodeOf(c.fleet.Servers(), path)
	case "seed": // made from many fields of the cluster
		return []string{"cluster"}
	case "config":
		if len(path) == 1 {
			break
		}
		if _, own := n.K3s.Config[path[1]]; own {
			return slices.Concat(at, []string{"k3s"}, path)
		}
	}
	return append(all, path...)
}

func (c *checker) storageSource(name string, path []string) []string {
	switch own := c.fleet.Nodes.by[name].Storage.Encrypt != nil; {
	case path[0] == "holders" && len(path) > 1:
		return nodeOf(c.fleet.Holders(name), path)
	case own:
		return []string{"nodes", name, "storage", "encrypt"}
	default:
		return []string{"cluster", "storage", "encrypt"}
	}
}

// nodeOf is the place of the node that an entry of a generated list names. path ends with
// the entry's index in list.
func nodeOf(list, path []string) []string {
	i, err := strconv.Atoi(path[len(path)-1])
	if err != nil || i >= len(list) {
		return []string{"nodes"}
	}
	return []string{"nodes", list[i]}
}

// sshSource counts keys as Fleet.ssh does: the cluster's come first.
func (c *checker) sshSource(at, path []string) []string {
	if len(path) < 3 || path[1] != "authorizedKeys" {
		return append(at, path...)
	}
	i, err := strconv.Atoi(path[2])
	if all := len(c.fleet.Cluster.SSH.AuthorizedKeys); err == nil && i >= all {
		return append(at, "ssh", "authorizedKeys", strconv.Itoa(i-all))
	}
	return slices.Concat([]string{"cluster"}, path)
}

// has says whether the node's own network, rather than its site's, determines a field; see
// overlaid.
func (n Network) has(path []string) bool {
	if len(path) == 0 {
		return true
	}
	switch path[0] {
	case "interfaces":
		return len(n.Interfaces) > 0
	case "wifi":
		return n.WiFi != nil
	case "ntp":
		return len(n.NTP) > 0
	case "proxy":
		return !n.Proxy.Empty()
	default:
		return len(n.NoProxy) > 0
	}
}
