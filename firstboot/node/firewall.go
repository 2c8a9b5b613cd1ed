package node

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/nearest"
)

// Service is what a name in the firewall lists opens.
type Service struct {
	Protocol string // tcp or udp
	Port     int
}

// Services are the names that the firewall lists may contain. k3s' own services are not among them:
// other nodes reach those through the tailnet.
var Services = map[string]Service{
	"http":  {"tcp", 80},
	"https": {"tcp", 443},
	"ssh":   {"tcp", 22},
}

// OpenToLAN returns the names of the services that are open to the private networks that the node
// is part of.
func (c *Config) OpenToLAN() []string {
	if (c.SSH.LAN == nil || *c.SSH.LAN) && !slices.Contains(c.Firewall.LAN, "ssh") {
		return append([]string{"ssh"}, c.Firewall.LAN...)
	}
	return c.Firewall.LAN
}

// OpenToAll returns the services that everybody may reach: those that the file names, and those of
// a Headscale.
func (c *Config) OpenToAll() []Service {
	var out []Service
	for _, name := range c.Firewall.Public {
		out = append(out, Services[name])
	}
	if c.Control != nil {
		out = append(out, Service{"tcp", c.ControlPort()}, Service{"udp", contract.STUNPort})
	}
	if c.Control != nil && c.Control.Cert == "" { // the authority's challenge arrives there
		out = append(out, Services["http"])
	}
	return out
}

func (v *validator) firewall(c *Config) {
	for at, list := range map[string][]string{"firewall.lan": c.Firewall.LAN, "firewall.public": c.Firewall.Public} {
		for i, name := range list {
			at := fmt.Sprintf("%s.%d", at, i)
			v.want(at, checkService(name))
			if slices.Contains(list[:i], name) {
				v.refuse(at, "is listed twice")
			}
			if name == "ssh" && c.SSH.LAN != nil && !*c.SSH.LAN {
				v.refuse(at, "contradicts ssh.lan, which is false")
			}
		}
	}
}

func checkService(name string) error {
	if _, ok := Services[name]; ok {
		return nil
	}
	known := slices.Sorted(maps.Keys(Services))
	if near := nearest.Name(name, known); near != "" {
		return fmt.Errorf("unknown service (did you mean %q?)", near)
	}
	return fmt.Errorf("unknown service; one of %s", strings.Join(known, ", "))
}
