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

// RefuseAtHome adds to the findings about a file that Load has taken what is wrong with
// it nevertheless. It is for who writes one. A node does not ask: it may run with such a
// value since before there was the rule, and after an update its own copy would count as
// damaged. A new rule about an old field belongs here, and not into Load.
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

// passphrase is one of WPA, or the key that is made of one (IEEE 802.11, annex J.4).
var passphrase = regexp.MustCompile(`^([ -~]{8,63}|[0-9A-Fa-f]{64})$`)

const wantPassphrase = "want a passphrase of 8 to 63 plain characters, or a key of 64 hex digits"

// checkGateway wants one that the port reaches by itself: the kernel takes no other. Those
// of a link's own addresses, as IPv6 routers have them, it always does.
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

// filesBelow refuses a file where another one would have to be a directory.
func (v *validator) filesBelow(files []File) {
	for i, f := range files {
		for dir := path.Dir(f.Path); len(dir) > 1; dir = path.Dir(dir) {
			if slices.ContainsFunc(files, func(other File) bool { return other.Path == dir }) {
				v.refuse("files."+strconv.Itoa(i)+".path", "is below %s, which is a file of this list", dir)
			}
		}
	}
}
