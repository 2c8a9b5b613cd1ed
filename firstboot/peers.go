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

// trusts reports whether a peer may be one of the cluster's servers. It bears
// a tag of k3s.serverTags or, where none is named, one of this node's own.
// Where the node has none either, its owner's untagged devices may be.
func (m *machine) trusts(st TailnetStatus, p Peer) bool {
	want := m.serverTags(st)
	if len(want) == 0 {
		return len(p.Tags) == 0 && p.Owner != 0 && p.Owner == st.Owner
	}
	return slices.ContainsFunc(p.Tags, func(t string) bool { return slices.Contains(want, t) })
}

func (m *machine) serverTags(st TailnetStatus) []string {
	if named := m.cfg.K3s.ServerTags; len(named) > 0 {
		return named
	}
	return st.Tags
}

// serverPeer finds the server of a name, nil where nobody bears it. A stranger
// beside it changes nothing; a stranger alone, or two that could be it, do.
func (m *machine) serverPeer(st TailnetStatus, name string) (*Peer, error) {
	var found *Peer
	var stranger error
	for i, p := range st.Peers {
		switch {
		case p.Name != name:
		case !m.trusts(st, p):
			want := cmp.Or(strings.Join(m.serverTags(st), " or "), "the owner of this node")
			stranger = problem("strange-server", name, want)
		case found != nil:
			return nil, problem("server-twice", name)
		default:
			found = &st.Peers[i]
		}
	}
	if found != nil {
		return found, nil
	}
	return nil, stranger
}

// strayed reports whether the address of a server is somebody else's now.
func (m *machine) strayed(st TailnetStatus, server netip.Addr) bool {
	return slices.ContainsFunc(st.Peers, func(p Peer) bool {
		return slices.Contains(p.IPs, server) && (!m.trusts(st, p) || !slices.Contains(m.cfg.OtherServers(), p.Name))
	})
}

// CheckServer refuses to let k3s start where the server it would show its
// token to is none any more, or while its data are locked: systemd starts it, before
// any step is asked.
func CheckServer(ctx context.Context, h Host) error {
	g, err := load(h.Files)
	if err != nil {
		return err
	}
	m := &machine{Host: h, given: g}
	if err := m.storageShut(); err != nil {
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
