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

// What is the owner's alone in a line of the kernel or the name of a part.
var hidden = []struct {
	what *regexp.Regexp
	with string
}{
	// An Ethernet address: its first half is the maker's, the second the owner's.
	{regexp.MustCompile(`\b([0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){2})(?:[:-][0-9A-Fa-f]{2}){3}\b`), "$1:xx:xx:xx"},
	// A port that is named by its address, systemd.net-naming-scheme(7).
	{regexp.MustCompile(`((?:en|wl|ww)x[0-9a-f]{6})[0-9a-f]{6}`), "${1}xxxxxx"},
	{regexp.MustCompile(`\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b`), "x.x.x.x"},
	// fs/nfs and net/sunrpc: "nfs: server NAME not responding, timed out".
	{regexp.MustCompile(`\b(nfs: server) \S+`), "$1 x"},
	{regexp.MustCompile(`(?i)\b(serial ?number|serial no\.?)(\s*[:=]\s*)\S+`), "$1$2 x"},
}

// colons is what may have an address of IPv6 in it.
var colons = regexp.MustCompile(`[\w:.]*:[\w:.]*:[\w:.]*`)

// hide takes from a text what is the owner's: addresses, names, serial numbers.
func hide(text string) string {
	text = hidden[0].what.ReplaceAllString(text, hidden[0].with) // eight such pairs would be IPv6
	text = colons.ReplaceAllStringFunc(text, hideIPv6)
	for _, h := range hidden[1:] {
		text = h.what.ReplaceAllString(text, h.with)
	}
	return text
}

// hideIPv6 looks for the longest address that begins and ends at a colon, a dot
// or the end: "dev:fe80::1." is one, "0000:00:17.0" of PCI is none.
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

// The shortest secret in bytes: what is shorter is no secret, and in every text.
// Lines of a file are often words of the kernel's: "brcmfmac" in a list of
// modules. Keys are longer.
const (
	shortestSecret = 8
	shortestLine   = 16
)

// Text is a report as it may leave the node: nothing in it is a secret by its
// looks, or one of this node's own. Those of many lines are looked for line by
// line, and as a report would have them.
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
