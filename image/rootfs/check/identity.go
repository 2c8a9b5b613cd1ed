package check

import (
	"path"
	"strings"
)

// born lists what a node makes for itself: with any of it in the image, all
// nodes would be the same one.
var born = []string{
	"etc/nvme/hostid",
	"etc/nvme/hostnqn",
	"etc/rancher/node/password",
	"etc/ssh/ssh_host_*",
	"var/lib/dbus/machine-id",
	"var/lib/longhorn/*",
	"var/lib/rancher/*",
	"var/lib/systemd/credential.secret",
	"var/lib/systemd/random-seed",
	"var/lib/tailscale/*",
}

// identity finds an identity that should not be there.
func (c *checker) identity() error {
	for _, n := range c.nodes {
		for _, pattern := range born {
			// A link, such as dbus's to /etc/machine-id, is no identity.
			if ok, _ := path.Match(pattern, n.Path); ok && n.Mode.IsRegular() {
				c.add(n, "is a node's identity and must not be in an image")
			}
		}
	}
	if err := c.machineID(); err != nil {
		return err
	}
	return c.initiatorName()
}

// machineID wants the file empty: machine-id(5) then makes one at boot, and
// PID 1 can bind it over a read-only /etc until it is written.
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
