package check

import "strings"

// factory is where a root keeps the files of /var, which is itself empty in an image: the
// node's tmpfiles.d copies them from there.
const factory = "usr/share/factory/"

// born lists the files that a node makes for itself, in the syntax of listed. If one of
// them were in the image, all nodes would share it.
var born = []string{
	"etc/nvme/hostid",
	"etc/nvme/hostnqn",
	"etc/rancher/node/password",
	"etc/ssh/ssh_host_*",
	"var/lib/dbus/machine-id",
	"var/lib/longhorn/**",
	"var/lib/rancher/**",
	"var/lib/systemd/credential.secret",
	"var/lib/systemd/random-seed",
	"var/lib/tailscale/**",
}

// brought lists the files in those directories that k3s only reads: an overlay may bring
// them.
var brought = []string{
	"var/lib/rancher/k3s/agent/etc/**",
	"var/lib/rancher/k3s/agent/images/**",
	"var/lib/rancher/k3s/server/manifests/**",
	"var/lib/rancher/k3s/server/static/**",
}

// identity finds files that belong to the identity of one node.
func (c *checker) identity() error {
	for _, n := range c.nodes {
		onNode := strings.TrimPrefix(n.Path, factory)
		// A link, such as dbus's to /etc/machine-id, is no identity.
		if n.Mode.IsRegular() && listed(born, onNode) && !listed(brought, onNode) {
			c.add(n, "is a node's identity and must not be in an image")
		}
	}
	if err := c.machineID(); err != nil {
		return err
	}
	return c.initiatorName()
}

// machineID requires an empty file: systemd then generates an id at boot, and PID 1 can
// mount it over the file while /etc is still read-only (machine-id(5)).
func (c *checker) machineID() error {
	n := c.tree.Get("etc/machine-id")
	switch {
	case n == nil:
		c.add(c.tree.Get("."), "has no /etc/machine-id: it must be there, and empty")
	case !n.Mode.IsRegular() || n.Size() != 0:
		c.add(n, "must be an empty file: a machine id is born on the node")
	}
	return nil
}

func (c *checker) initiatorName() error {
	n := c.tree.Get("etc/iscsi/initiatorname.iscsi")
	if n == nil {
		return nil
	}
	b, err := c.tree.ReadAll(n.Path)
	if err != nil {
		return err
	}
	generate := false
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "InitiatorName=") {
			c.add(n, "names an initiator: two nodes of one name corrupt each other's volumes")
			return nil
		}
		generate = generate || line == "GenerateName=yes"
	}
	if !generate {
		c.add(n, "lacks GenerateName=yes, so that iscsid would not start")
	}
	return nil
}
