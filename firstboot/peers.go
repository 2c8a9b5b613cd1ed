package firstboot

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The token opens the whole cluster, and a token without the digest of the cluster's
// authority is sent to any server that answers. A name proves nothing: any device in the
// tailnet chooses its own name, and Headscale gives the address of a deleted server to the
// next device. A tag does prove something, as only the tailnet's administrator assigns
// tags.

// trusts reports whether a peer is to be trusted with the name that it has: it has one of
// the tags that are wanted. If none are wanted, as this node itself has none, the untagged
// devices of this node's owner are trusted.
func trusts(st TailnetStatus, p Peer, want []string) bool {
	if len(want) == 0 {
		return len(p.Tags) == 0 && p.Owner != 0 && p.Owner == st.Owner
	}
	return slices.ContainsFunc(p.Tags, func(t string) bool { return slices.Contains(want, t) })
}

// pick finds the trusted peer of a name, nil if there is none. An untrusted peer of that
// name (stranger) changes nothing. Of two trusted ones (twice) it picks neither: one of
// them may be anybody's.
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

// serverTags returns k3s.serverTags or, if that names none, this node's own tags.
func (m *machine) serverTags(st TailnetStatus) []string {
	if named := m.cfg.K3s.ServerTags; len(named) > 0 {
		return named
	}
	return st.Tags
}

// serverPeer finds the server of a name, nil if no peer has the name. It is a Problem if
// only strangers have it, or two trusted peers.
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

// strayed reports whether a server's address now belongs to another device.
func (m *machine) strayed(st TailnetStatus, server netip.Addr) bool {
	return slices.ContainsFunc(st.Peers, func(p Peer) bool {
		return slices.Contains(p.IPs, server) && (!trusts(st, p, m.serverTags(st)) || !slices.Contains(m.cfg.OtherServers(), p.Name))
	})
}

// CheckServer refuses to let k3s start if the server that would be shown the token is not
// that server any more, while this node's data are locked, or while the LAN could reach it.
// It is needed because systemd starts k3s before any step has run, and even if the firewall
// could not be loaded.
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
