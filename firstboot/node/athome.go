package node

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// RefuseAtHome adds findings about a file that Load has accepted and that is wrong all the same. It
// is for programs that write a node.yaml. A node does not call it: it may have run with such a
// value since before the rule existed, and after an update its own copy would count as damaged. A
// new rule about an old field belongs here, and not in Load.
func (c *Config) RefuseAtHome(found *strictyaml.Findings) {
	v := &validator{found}
	for _, name := range sortedKeys(c.K3s.Labels) {
		if err := checkOwnLabel(name); err != nil {
			v.refuseLabel(name, err)
		}
	}
	for i := range c.Network.Interfaces {
		v.want("network.interfaces."+strconv.Itoa(i)+".gateway", c.Network.Interfaces[i].checkGateway())
	}
	if w := c.Network.WiFi; w != nil && !w.PSK.Empty() && !passphrase.MatchString(w.PSK.Reveal()) {
		v.refuse("network.wifi.psk", wantPassphrase)
	}
	v.filesBelow(c.Files)
}

// passphrase is a WPA passphrase, or the key that is derived from one (IEEE 802.11, annex J.4).
var passphrase = regexp.MustCompile(`^([ -~]{8,63}|[0-9A-Fa-f]{64})$`)

const wantPassphrase = "want a passphrase of 8 to 63 plain characters, or a key of 64 hex digits"

// checkGateway requires a gateway in one of the port's own networks: the kernel accepts no other,
// except a link-local address, as IPv6 routers have.
func (i *Interface) checkGateway() error {
	gateway, err := netip.ParseAddr(i.Gateway)
	if err != nil || gateway.IsLinkLocalUnicast() {
		return nil
	}
	for _, a := range i.Addresses {
		if p, err := netip.ParsePrefix(a); err == nil && p.Contains(gateway) {
			return nil
		}
	}
	return fmt.Errorf("is in none of the networks of addresses: is their prefix length right?")
}

// filesBelow refuses a file whose path needs a directory where the list has another file.
func (v *validator) filesBelow(files []File) {
	for i, f := range files {
		for dir := path.Dir(f.Path); len(dir) > 1; dir = path.Dir(dir) {
			if slices.ContainsFunc(files, func(other File) bool { return other.Path == dir }) {
				v.refuse("files."+strconv.Itoa(i)+".path", "is below %s, which is a file of this list", dir)
			}
		}
	}
}
