package firstboot

import (
	"context"
	"errors"
	"fmt"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// control: if node.yaml says so, the tailnet's Headscale runs on this node and
// answers at the address that all nodes are given. The step identity writes its
// settings; the owner applies its policy (imagebuilder headscale).

const (
	controlDir  = "/etc/headscale"
	controlConf = controlDir + "/config.yaml"
	controlCert = controlDir + "/tls.crt"
	controlKey  = controlDir + "/tls.key"
	controlData = contract.HeadscaleData
	// acmeDir is autocert's cache: the key of the ACME account and, in a file
	// named after its host, the certificate.
	acmeDir = controlData + "/acme"
)

func (m *machine) controlDone(ctx context.Context) (bool, error) {
	if m.cfg.Control == nil {
		return true, nil
	}
	up, err := m.Units.Active(ctx, contract.HeadscaleUnit)
	return err == nil && up && m.controlFault(ctx) == nil, err
}

func (m *machine) controlDo(ctx context.Context) error {
	up, err := m.Units.Active(ctx, contract.HeadscaleUnit)
	if err != nil {
		return err
	}
	if !up {
		if err := m.Units.Start(ctx, contract.HeadscaleUnit); err != nil {
			return problem("control", err.Error()).because(err)
		}
	}
	p := m.controlFault(ctx)
	if p == nil {
		return nil
	}
	if ready, err := m.Units.Ready(ctx, contract.HeadscaleUnit); err != nil || ready {
		return p
	}
	log, err := m.Units.Log(ctx, contract.HeadscaleUnit, 10)
	return problem("control", lastLine(log)).because(errors.Join(p, err))
}

// controlGroup returns the files that Headscale runs from. On a node that is to
// run none they must be absent, except for those of controlSecrets.
func (m *machine) controlGroup() (group, error) {
	ok, err := m.exists("/usr/lib/systemd/system/" + contract.HeadscaleUnit)
	if err == nil && !ok && m.cfg.Control != nil {
		err = problem("bad-field", "field \"control\": this image has no Headscale (overlay headscale)")
	}
	if err != nil || !ok {
		return group{name: "control", tell: func(context.Context) error { return nil }}, err
	}
	config := text644(controlConf, "")
	cert := text644(controlCert, "")
	if config.absent = m.cfg.Control == nil; !config.absent {
		text, err := yaml.Marshal(controlConfig(m.cfg))
		if err != nil {
			return group{}, err
		}
		config.data = append([]byte(generated), text...)
		cert.data = []byte(m.cfg.Control.Cert)
	}
	cert.absent = len(cert.data) == 0
	names, err := m.namesAtStart()
	if err != nil {
		return group{}, err
	}
	all, err := controlSecrets(m.cfg)
	return group{"control", append(all, cert, names, config), m.retell(contract.HeadscaleUnit)}, err
}

// controlSecrets returns the files with the key of the certificate and that of
// the backup bucket. A sealed node.yaml has neither; then the files on the node
// stay as they are.
func controlSecrets(c *node.Config) ([]file, error) {
	stores, err := storesFiles(c)
	return append(keyFiles(c), stores...), err
}

func keyFiles(c *node.Config) []file {
	if c.Control == nil || c.Control.Key.Empty() {
		return nil
	}
	return []file{{path: controlKey, data: []byte(c.Control.Key.Reveal()), mode: 0o640, gid: contract.HeadscaleID}}
}

func storesFiles(c *node.Config) ([]file, error) {
	if c.Control == nil || c.Control.Backup.S3 != nil && c.Control.Backup.S3.SecretKey.Empty() {
		return nil, nil
	}
	text, err := yaml.Marshal(c.Control.Backup)
	if err != nil {
		return nil, err
	}
	return []file{{path: contract.HeadscaleStores, data: append([]byte(generated), text...), mode: 0o600}}, nil
}

// section is a mapping in Headscale's configuration.
type section map[string]any

// controlConfig follows config-example.yaml of Headscale 0.29.
func controlConfig(c *node.Config) section {
	s := section{
		"server_url":          c.Headscale.URL,
		"listen_addr":         fmt.Sprintf("[::]:%d", c.ControlPort()),
		"metrics_listen_addr": "", // none
		"grpc_listen_addr":    "127.0.0.1:50443",
		"noise":               section{"private_key_path": controlData + "/noise_private.key"},
		"prefixes":            section{"v4": contract.TailnetNetwork, "v6": "fd7a:115c:a1e0::/48", "allocation": "sequential"},
		"derp": section{
			"server": section{
				"enabled": true, "region_id": 999, "region_code": "own", "region_name": c.Node,
				// Only for members of the tailnet: anybody may use an open
				// relay.
				"verify_clients":   true,
				"stun_listen_addr": fmt.Sprintf("[::]:%d", contract.STUNPort),
				"private_key_path": controlData + "/derp_server_private.key", "automatically_add_embedded_derp_region": true,
			},
			"urls": []string{}, "paths": []string{}, "auto_update_enabled": false,
		},
		"disable_check_updates":  true,
		"database":               section{"type": "sqlite", "sqlite": section{"path": controlData + "/db.sqlite", "write_ahead_log": true}},
		"log":                    section{"level": "info", "format": "text"},
		"policy":                 section{"mode": "database"},
		"dns":                    dnsConfig(c.Names()),
		"unix_socket":            "/run/headscale/headscale.sock",
		"unix_socket_permission": "0700",
		"logtail":                section{"enabled": false},
	}
	if c.Control.Cert != "" {
		s["tls_cert_path"], s["tls_key_path"] = controlCert, controlKey
		return s
	}
	// With HTTP-01, autocert also answers TLS-ALPN-01, and redirects browsers
	// to https.
	s["acme_email"], s["tls_letsencrypt_hostname"], s["tls_letsencrypt_cache_dir"] = c.Control.Email, c.ControlHost(), acmeDir
	s["tls_letsencrypt_challenge_type"], s["tls_letsencrypt_listen"] = "HTTP-01", "[::]:80"
	if c.Control.ACME != "" { // otherwise it is Let's Encrypt
		s["acme_url"] = c.Control.ACME
	}
	return s
}

// dnsConfig gives each of the applications' names a split-DNS route without a
// name server: a client then answers for the name itself. Without the route
// most systems ask the name server of their LAN, as the name is not below the
// tailnet's own domain.
func dnsConfig(names node.Names) section {
	servers := section{"global": []string{}}
	s := section{"magic_dns": true, "base_domain": contract.TailnetDomain, "override_local_dns": false, "nameservers": servers}
	if len(names.Hosts) == 0 {
		return s
	}
	ways := section{}
	for _, host := range names.Hosts {
		ways[host] = []string{}
	}
	servers["split"], s["extra_records_path"] = ways, namesFile
	return s
}
