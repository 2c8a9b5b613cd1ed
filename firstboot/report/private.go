package report

import (
	"bytes"
	"errors"
	"net/netip"
	"regexp"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// Private data of the owner in a line of the kernel's log, or in the name of a part.
var hidden = []struct {
	what *regexp.Regexp
	with string
}{
	// An Ethernet address: its first half is the maker's, the second the owner's.
	{regexp.MustCompile(`\b([0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){2})(?:[:-][0-9A-Fa-f]{2}){3}\b`), "$1:xx:xx:xx"},
	// The name of a port that contains its address: systemd.net-naming-scheme(7).
	{regexp.MustCompile(`((?:en|wl|ww)x[0-9a-f]{6})[0-9a-f]{6}`), "${1}xxxxxx"},
	{regexp.MustCompile(`\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b`), "x.x.x.x"},
	// fs/nfs and net/sunrpc: "nfs: server NAME not responding, timed out".
	{regexp.MustCompile(`\b(nfs: server) \S+`), "$1 x"},
	{regexp.MustCompile(`(?i)\b(serial ?number|serial no\.?)(\s*[:=]\s*)\S+`), "$1$2 x"},
}

// colons matches what may contain an IPv6 address.
var colons = regexp.MustCompile(`[\w:.]*:[\w:.]*:[\w:.]*`)

// hide removes private data of the owner from a text: addresses, names, serial numbers.
func hide(text string) string {
	text = hidden[0].what.ReplaceAllString(text, hidden[0].with) // first, since eight such pairs would look like IPv6
	text = colons.ReplaceAllStringFunc(text, hideIPv6)
	for _, h := range hidden[1:] {
		text = h.what.ReplaceAllString(text, h.with)
	}
	return text
}

// hideIPv6 replaces the longest IPv6 address that begins and ends at a colon, a dot or the end:
// "dev:fe80::1." has one, PCI's "0000:00:17.0" has none.
func hideIPv6(run string) string {
	for from := 0; ; {
		for to := len(run); to > from; to = from + strings.LastIndexAny(run[from:to], ":.") {
			if a, err := netip.ParseAddr(run[from:to]); err == nil && a.Is6() {
				return run[:from] + "x::x" + run[to:]
			}
		}
		next := strings.IndexByte(run[from:], ':')
		if next < 0 {
			return run
		}
		from += next + 1
	}
}

// The lengths of the shortest secrets to look for, in bytes. Anything shorter is no secret, and
// occurs in every text. Lines of a file are often words that the kernel uses too, such as
// "brcmfmac" in a list of modules; keys are longer.
const (
	shortestSecret = 8
	shortestLine   = 16
)

// Text returns a report that may leave the node: nothing in it looks like a secret or is one of
// this node's own secrets. A secret of several lines is looked for line by line, in the form that a
// report would give it.
func Text(r *contract.Report, own []secret.String) ([]byte, error) {
	text, err := r.Encode()
	if err != nil {
		return nil, err
	}
	for _, s := range own {
		shortest := shortestSecret
		if strings.Contains(strings.TrimSpace(s.Reveal()), "\n") {
			shortest = shortestLine
		}
		for line := range strings.Lines(s.Reveal()) {
			if line = contract.PlainLine(line); len(line) >= shortest && bytes.Contains(text, []byte(line)) {
				return nil, errors.New("a secret of this node is in the report: it was not written")
			}
		}
	}
	return text, nil
}
