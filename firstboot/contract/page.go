package contract

import (
	"encoding/base64"
	"net/netip"
)

// OfferDir is where the page leaves what was handed over. It is all that the page can
// write to.
const OfferDir = "run/firstboot-page"

// PageURL returns the address of a node's page in the network that it is plugged into.
func PageURL(node string) string { return "http://" + pageHost(node) }

func pageHost(node string) string { return node + ".local" }

// PageLink returns a link to the page that hands over what was signed for the node. The
// part behind "#" is for the page's script. No browser sends it to a server, not even to
// a wrong one, should the name lead there.
func PageLink(node string, signed []byte) string { return pageLink(pageHost(node), signed) }

// PageLinkAt is PageLink by the node's address in that network: not every telephone or
// network finds names in .local.
func PageLinkAt(address netip.Addr, signed []byte) string {
	host := address.String()
	if address.Is6() {
		host = "[" + host + "]"
	}
	return pageLink(host, signed)
}

func pageLink(host string, signed []byte) string {
	return "http://" + host + "/#" + base64.RawURLEncoding.EncodeToString(signed)
}
