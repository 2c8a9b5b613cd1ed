package firstboot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// firewall: before there is anything to be reached, nobody but the tailnet and
// pods reaches this node. The rules come with the image; node.yaml opens
// services in them, and Guard keeps them in the kernel.

const (
	firewallRules = "/usr/lib/imagebuilder/firewall.nft" // of the overlay firewall
	firewallOpen  = "/etc/imagebuilder/firewall.nft"     // what node.yaml opens
	firewallTable = "inet imagebuilder"
)

// firewallDone asks the kernel, not the service: the rules stay when the
// service ends, and it may run when they are gone.
func (m *machine) firewallDone(ctx context.Context) (bool, error) {
	return m.firewallDo(ctx) == nil, nil
}

// firewallDo only says what is wrong: another service loads the rules.
func (m *machine) firewallDo(ctx context.Context) error {
	ok, err := m.exists(firewallRules)
	if err != nil || !ok { // an image without it
		return err
	}
	if err := m.Firewalled(ctx); err != nil {
		return problem("firewall", err.Error()).because(err)
	}
	return nil
}

// Firewalled returns why the rules are not in force, nil if they are.
func (h *Host) Firewalled(ctx context.Context) error {
	rules, err := h.Programs.Run(ctx, "nft", "--stateless", "list", "table", firewallTable)
	if err == nil && !strings.Contains(rules, "hook prerouting") {
		err = errors.New("its rules are gone")
	}
	return err
}

// firewallGroup is the file that opens what node.yaml names. Guard notices a
// change by itself.
func (m *machine) firewallGroup() (group, error) {
	ok, err := m.exists(firewallRules)
	asked := len(m.cfg.Firewall.LAN)+len(m.cfg.Firewall.Public) > 0 || m.cfg.SSH.LAN != nil
	if err == nil && !ok && asked {
		err = problem("bad-field", "fields \"firewall\" and \"ssh.lan\": this image has no firewall")
	}
	f := text644(firewallOpen, opening(m.cfg))
	f.absent = !ok
	return group{"firewall", []file{f}, func(context.Context) error { return nil }}, err
}

// opening returns what is loaded after the image's rules, in one transaction
// with them. They let ssh in from the LAN; "flush set" would undo that more
// clearly than "delete element", but it crashes nft 1.1.3 if the set is new in
// the same transaction.
func opening(c *node.Config) string {
	lan := c.OpenToLAN()
	b := generated
	if !slices.Contains(lan, "ssh") {
		b += element("delete", "lan", node.Services["ssh"])
	}
	for _, name := range lan {
		b += element("add", "lan", node.Services[name])
	}
	for _, s := range c.OpenToAll() {
		b += element("add", "public", s)
	}
	return b
}

func element(verb, set string, s node.Service) string {
	return fmt.Sprintf("%s element %s %s { %s . %d }\n", verb, firewallTable, set, s.Protocol, s.Port)
}
