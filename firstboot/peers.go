package firstboot

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The token opens the whole cluster, and one without the authority's digest is
// shown to whoever answers. A name is no proof: any device of the tailnet calls
// itself what it likes, and Headscale gives a deleted server's address to the
// next one. A tag is, as only the tailnet's administrator hands tags out.

// trusts reports whether a peer may be who bears a name for certain: it has one of the
// tags that are wanted. Where none are, as this node has none itself, its owner's
// untagged devices may be.
func trusts(st TailnetStatus, p Peer, want []string) bool {
	if len(want) == 0 {
		return len(p.Tags) == 0 && p.Owner != 0 && p.Owner == st.Owner
	}
	return slices.ContainsFunc(p.Tags, func(t string) bool { return slices.Contains(want, t) })
}

// pick finds who bears a name, nil where nobody does for certain. A stranger beside it
// changes nothing; of two that could be it neither is, as one of them may be anybody's.
func pick(st TailnetStatus, name string, want []string) (found *Peer, stranger, twice bool) {
	for i, p := range st.Peers {
		switch {
		case p.Name != name:
		case !trusts(st, p, want):
			stranger = true
		case found != nil:
			return nil, stranger, true
		default:
			found = &st.Peers[i]
		}
	}
	return found, stranger, false
}

// serverTags are those of k3s.serverTags or, where none is named, this node's own.
func (m *machine) serverTags(st TailnetStatus) []string {
	if named := m.cfg.K3s.ServerTags; len(named) > 0 {
		return named
	}
	return st.Tags
}

// serverPeer finds the server of a name, nil where nobody bears it. A stranger alone, or
// two that could be it, are a problem.
func (m *machine) serverPeer(st TailnetStatus, name string) (*Peer, error) {
	tags := m.serverTags(st)
	switch p, stranger, twice := pick(st, name, tags); {
	case twice:
		return nil, problem("server-twice", name)
	case p == nil && stranger:
		return nil, problem("strange-server", name, cmp.Or(strings.Join(tags, " or "), "the owner of this node"))
	default:
		return p, nil
	}
}

// strayed reports whether the address of a server is somebody else's now.
func (m *machine) strayed(st TailnetStatus, server netip.Addr) bool {
	return slices.ContainsFunc(st.Peers, func(p Peer) bool {
		return slices.Contains(p.IPs, server) && (!trusts(st, p, m.serverTags(st)) || !slices.Contains(m.cfg.OtherServers(), p.Name))
	})
}

// CheckServer refuses to let k3s start where the server it would show its
// token to is none any more, while its data are locked, or while the LAN would reach
// it: systemd starts it before any step is asked, and in spite of a firewall that could
// not be loaded.
func CheckServer(ctx context.Context, h Host) error {
	g, err := load(h.Files)
	if err != nil {
		return err
	}
	m := &machine{Host: h, given: g}
	if err := m.storageShut(); err != nil {
		return err
	}
	if err := m.firewallDo(ctx); err != nil {
		return err
	}
	v, err := m.written()
	if err != nil || v == nil || !v.join.IsValid() {
		return err
	}
	st, err := m.upStatus(ctx)
	if err == nil && m.strayed(st, v.join) {
		err = fmt.Errorf("the tailnet has given the server's address %s to another device", v.join)
	}
	return err
}
