package contract

import "encoding/base64"

// OfferDir is where the page leaves what was handed over: all that it may write to.
const OfferDir = "run/firstboot-page"

// PageURL is where a node's page is, in the network that it is plugged into.
func PageURL(node string) string { return "http://" + node + ".local" }

// PageLink is a link to the page that hands over what was signed for the node.
// What stands behind "#" is for the page's script: no browser sends it to a
// server, not to another one either, should the name lead there.
func PageLink(node string, signed []byte) string {
	return PageURL(node) + "/#" + base64.RawURLEncoding.EncodeToString(signed)
}
