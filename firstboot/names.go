package firstboot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// names: on the node that runs Headscale, the applications' names lead to the nodes that
// take requests in for them. This is not a step: names wait for nothing, not even for
// this node to be a member, and hold up nothing.

// namesFile is the file that Headscale watches. Headscale notices a file that is renamed
// over the old one (inotify reports the old one's removal, and it looks again:
// hscontrol/dns, 0.26 to 0.29). It does not start without the file.
const namesFile = controlData + "/names.json"

// record is a DNS record, as Headscale reads it (tailcfg.DNSRecord).
type record struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

// listed is a node in the output of "headscale nodes list", 0.26 to 0.29.
type listed struct {
	Name      string       `json:"given_name"`
	Addresses []netip.Addr `json:"ip_addresses"`
	Online    bool         `json:"online"`
}

func (m *machine) keepNames(ctx context.Context) error {
	names := m.cfg.Names()
	if len(names.Hosts) == 0 {
		return nil
	}
	if up, err := m.Units.Ready(ctx, contract.HeadscaleUnit); err != nil || !up { // the step control reports it
		return err
	}
	members, err := m.members(ctx)
	if err != nil {
		return problem("control", err.Error()).because(err)
	}
	text, err := json.MarshalIndent(records(names, members), "", " ")
	if err != nil {
		return err
	}
	return m.ensure([]file{text644(namesFile, string(text)+"\n")})
}

// members asks over Headscale's own socket: this node may not be a member yet, and if it
// is, its policy may show it no other node.
func (m *machine) members(ctx context.Context) (all []listed, err error) {
	out, err := m.Programs.Run(ctx, "headscale", "nodes", "list", "--output", "json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("headscale nodes list: %w", err)
	}
	return all, nil
}

// records leads each name to those of its nodes that are online. A client's own resolver
// returns one address of each family, the first (tailscale's net/dns/resolver, 1.102):
// with a node that is away among them, the loss of one site could take every name with
// it. If all are away, they all stay: then a name works as soon as one is switched on
// again, while a name without records would be remembered as missing.
func records(names node.Names, members []listed) []record {
	answers := slices.DeleteFunc(slices.Clone(members), func(m listed) bool { return !slices.Contains(names.Nodes, m.Name) })
	if slices.ContainsFunc(answers, func(m listed) bool { return m.Online }) {
		answers = slices.DeleteFunc(answers, func(m listed) bool { return !m.Online })
	}
	// Headscale's order is unspecified, and it tells all clients about every change.
	slices.SortFunc(answers, func(a, b listed) int { return slices.Index(names.Nodes, a.Name) - slices.Index(names.Nodes, b.Name) })
	out := []record{}
	for _, host := range names.Hosts {
		for _, m := range answers {
			for _, a := range m.Addresses {
				out = append(out, record{host, kindOf(a), a.String()})
			}
		}
	}
	return out
}

func kindOf(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}

// namesAtStart is the file that Headscale starts with: the existing one, however old,
// unless Headscale would not start with it.
func (m *machine) namesAtStart() (file, error) {
	f := text644(namesFile, "[]\n")
	if f.absent = len(m.cfg.Names().Hosts) == 0; f.absent {
		return f, nil
	}
	have, err := m.read(namesFile)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return f, err
	}
	if _, err := parseRecords(have); err == nil {
		f.data = have
	}
	return f, nil
}

func parseRecords(text []byte) (all []record, err error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("is empty")
	}
	err = json.Unmarshal(text, &all)
	return all, err
}

// Name is a name that this node serves in the tailnet, and the addresses to which it
// leads.
type Name struct {
	Host      string
	Addresses []string
}

// ServedNames lists the names in node.yaml, none if this node runs no Headscale.
func (h *Host) ServedNames() ([]Name, error) {
	g, err := load(h.Files)
	if err != nil || len(g.cfg.Names().Hosts) == 0 {
		return nil, err
	}
	text, err := h.read(namesFile)
	if err != nil {
		return nil, err
	}
	all, err := parseRecords(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", namesFile, err)
	}
	var out []Name
	for _, host := range g.cfg.Names().Hosts {
		n := Name{Host: host}
		for _, r := range all {
			if r.Name == host {
				n.Addresses = append(n.Addresses, r.Value)
			}
		}
		out = append(out, n)
	}
	return out, nil
}
