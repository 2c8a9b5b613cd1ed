package firstboot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The pauses of Guard.
const (
	guardPause = 2 * time.Second  // between looks at addresses and at what node.yaml opens
	guardTrust = 30 * time.Second // how long the kernel is trusted to still have the rules
)

// Guard keeps the firewall loaded: the image's rules, what node.yaml opens, the
// node's page while it is shown, and the private networks that the node is part
// of, which come and go with DHCP. It undoes what somebody else does to the
// rules, such as "nft flush ruleset". Each change is one transaction. Guard
// tells what it did. It returns when ctx ends, when it cannot read what the
// rules follow from, or when the kernel does not even take the image's rules
// alone.
func Guard(ctx context.Context, h Host, tell func(string)) error {
	g := &guard{Host: h, tell: tell}
	for {
		if err := g.look(ctx); err != nil {
			return err
		}
		if err := h.Clock.Sleep(ctx, guardPause); err != nil {
			return err
		}
	}
}

type guard struct {
	Host
	tell   func(string)
	wanted string    // the rules that were loaded last
	whole  bool      // whether the kernel took all of them
	listed string    // how the kernel lists them
	until  time.Time // when to ask the kernel again
}

func (g *guard) look(ctx context.Context) error {
	base, more, err := g.rules(ctx)
	if err != nil {
		return err
	}
	now, want := g.Clock.Now(), base+more
	if want == g.wanted && now.Before(g.until) {
		return nil
	}
	if want == g.wanted && g.whole {
		g.until = now.Add(guardTrust)
		if g.list(ctx) == g.listed || ctx.Err() != nil {
			return nil
		}
		g.tell("somebody changed the rules of the firewall: put back")
	}
	g.wanted, g.until = want, now.Add(guardTrust)
	return g.load(ctx, base, more)
}

// load falls back to the image's rules alone: they keep everybody out but the
// tailnet, and ssh from IPv6 link-local addresses.
func (g *guard) load(ctx context.Context, base, more string) error {
	_, err := g.Programs.Run(ctx, "nft", base+more)
	if ctx.Err() != nil { // the node is shutting down
		return nil
	}
	if g.whole = err == nil; !g.whole {
		g.tell("the firewall opens nothing: " + err.Error())
		_, err = g.Programs.Run(ctx, "nft", base)
	}
	g.listed = g.list(ctx)
	return err
}

// list returns the rules as the kernel lists them, "" if it has none.
func (g *guard) list(ctx context.Context) string {
	out, err := g.Programs.Run(ctx, "nft", "--stateless", "list", "table", firewallTable)
	if err != nil {
		return ""
	}
	return out
}

// rules returns the image's rules, and what this node adds to them.
func (g *guard) rules(ctx context.Context) (base, more string, err error) {
	image, err := g.read(firewallRules)
	if err != nil {
		return "", "", err
	}
	open, err := g.read(firewallOpen)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	page, err := g.read(PageFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	links, err := g.Net.Links(ctx)
	if err != nil {
		return "", "", err
	}
	return string(image), string(open) + string(page) + ownSets(links), nil
}

// private are the networks of RFC 1918, RFC 3927 and RFC 4193. IPv6's
// link-local network is in the image's rules.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fc00::/7"),
}

// plainName matches what nft takes as a name, and nothing else, between quotes:
// a "*" would make it a pattern, and a quote would end it.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.@-]+$`)

// ownSets returns what fills the sets with the private networks of each port.
func ownSets(links []Link) string {
	var b strings.Builder
	for _, l := range links {
		if !plainName.MatchString(l.Name) {
			continue
		}
		for _, p := range ownNetworks(l.Networks) {
			set := "own4"
			if p.Addr().Is6() {
				set = "own6"
			}
			fmt.Fprintf(&b, "add element %s %s { %q . %s }\n", firewallTable, set, l.Name, p)
		}
	}
	return b.String()
}

// ownNetworks returns the private part of each network. Of those that overlap,
// which the kernel would refuse, it keeps the widest.
func ownNetworks(all []netip.Prefix) (own []netip.Prefix) {
	for _, p := range all {
		for _, r := range private {
			if !r.Contains(p.Addr()) {
				continue
			}
			if p.Bits() < r.Bits() { // most of 192.168.1.5/8 belongs to others
				p = r
			}
			own = append(own, p.Masked())
		}
	}
	slices.SortFunc(own, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	var out []netip.Prefix
	for _, p := range own {
		if !slices.ContainsFunc(out, p.Overlaps) {
			out = append(out, p)
		}
	}
	return out
}
