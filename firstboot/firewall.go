package firstboot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// firewall: nobody but the tailnet and pods reaches this node, before
// anything is there to be reached. The rules are the image's; node.yaml opens
// services in them, and Guard keeps them in the kernel.

const (
	firewallRules = "/usr/lib/imagebuilder/firewall.nft" // of the overlay firewall
	firewallOpen  = "/etc/imagebuilder/firewall.nft"     // what node.yaml opens
	firewallTable = "inet imagebuilder"
)

// firewallDone asks the kernel, not the service: rules stand without it, and
// it may run while they do not.
func (m *machine) firewallDone(ctx context.Context) (bool, error) {
	return m.firewallDo(ctx) == nil, nil
}

// firewallDo says what is wrong: the rules are another service's to load.
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

// Firewalled says why the rules do not stand, nil if they do.
func (h *Host) Firewalled(ctx context.Context) error {
	rules, err := h.Programs.Run(ctx, "nft", "--stateless", "list", "table", firewallTable)
	if err == nil && !strings.Contains(rules, "hook prerouting") {
		err = errors.New("its rules are gone")
	}
	return err
}

// firewallGroup opens what node.yaml names. Guard takes it up by itself.
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

// opening is read after the image's rules, in one transaction. Those let ssh
// in from the LAN; "flush set" would say it better, but crashes nft 1.1.3 where
// the set is new in the same transaction.
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
