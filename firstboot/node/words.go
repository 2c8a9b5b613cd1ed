package node

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

var (
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	dnsName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	zoneName = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$`)
	tagName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)
)

// CheckHostname accepts one label of RFC 1123 in lower case: Kubernetes and Headscale fold case, so
// two names that differ only in case would clash.
func CheckHostname(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("is missing; a host name")
	case s == "localhost":
		return fmt.Errorf("every machine is localhost: choose another name")
	case !dnsLabel.MatchString(s):
		return fmt.Errorf("want a host name: a-z, 0-9 and - inside, at most 63 characters (RFC 1123)")
	}
	return nil
}

func checkSite(s string) error {
	if s == "" {
		return fmt.Errorf("is missing; where the node is, like home")
	}
	if !dnsLabel.MatchString(s) {
		return fmt.Errorf("want a short name: a-z, 0-9 and - inside, at most 63 characters")
	}
	return nil
}

// checkTag follows the tag syntax of a tailnet's policy.
func checkTag(s string) error {
	if name, ok := strings.CutPrefix(s, "tag:"); !ok || !tagName.MatchString(name) {
		return fmt.Errorf("want a tag of the tailnet, like tag:k3s-server")
	}
	return nil
}

// CheckAuthorizedKey accepts a line as ssh-keygen writes it into a .pub file. Options before the
// type are refused: they are easily wrong and never needed here.
func CheckAuthorizedKey(line string) error {
	fields := strings.Fields(line)
	if len(fields) < 2 || strings.ContainsAny(line, "\r\n") {
		return fmt.Errorf("want a line like \"ssh-ed25519 AAAA… name\"")
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil || len(blob) < 4 {
		return fmt.Errorf("holds no SSH public key: copy the whole line of the .pub file")
	}
	n := int(binary.BigEndian.Uint32(blob)) // RFC 4253, section 6.6: a string naming the type comes first
	if n < 0 || n > len(blob)-4 || string(blob[4:4+n]) != fields[0] {
		return fmt.Errorf("holds no SSH public key of the type it names")
	}
	return nil
}

// checkHostKey checks only the form of the key.
func checkHostKey(s string) error {
	if block, _ := pem.Decode([]byte(s)); s != "" && (block == nil || block.Type != "OPENSSH PRIVATE KEY") {
		return fmt.Errorf("want a private key in OpenSSH's form, as ssh-keygen -t ed25519 writes it")
	}
	return nil
}

func checkAddress(s string) error {
	if _, err := netip.ParseAddr(s); err != nil {
		return fmt.Errorf("want an IP address")
	}
	return nil
}

func checkServer(s string) error {
	if checkAddress(s) != nil && !dnsName.MatchString(s) {
		return fmt.Errorf("want a host name or an IP address")
	}
	return nil
}

func checkTimezone(s string) error {
	if s != "" && !zoneName.MatchString(s) {
		return fmt.Errorf("want a time zone like Europe/Lisbon")
	}
	return nil
}

// Warnings returns one sentence for each setting that is allowed but likely to cause trouble.
func (c *Config) Warnings() []string {
	var out []string
	if u, err := url.Parse(c.Headscale.URL); err == nil && u.Scheme == "http" {
		// tailscaled redials https:443 when a plain http name fails within two
		// minutes (tailscale 1.102, control/controlhttp); private IPs are exempt.
		if ip, err := netip.ParseAddr(u.Hostname()); err != nil || !ip.IsPrivate() && !ip.IsLoopback() {
			out = append(out, "headscale.url: plain http breaks on reconnect unless its host is a private IP address: use https")
		}
	}
	if !c.Sealed && c.Headscale.AuthKey.Empty() && c.Control == nil { // the node's own Headscale makes that key later
		out = append(out, "headscale.authKey: is missing; a node that has not joined yet needs one")
	}
	out = append(out, c.tokenWarnings()...)
	if c.OwnerKey == "" {
		out = append(out, "ownerKey: is missing; a node that has joined takes every change from whoever puts a node.yaml onto its card")
	}
	return out
}

// pin matches the beginning of a token that names the cluster's authority by its digest.
var pin = regexp.MustCompile(`^K10[0-9a-f]{64}::.`)

func (c *Config) tokenWarnings() []string {
	var out []string
	field, token := c.JoinToken()
	if c.Role == Agent && field == "token" && !token.Empty() {
		out = append(out, "k3s.token: opens the whole cluster; give an agent agentToken or bootstrapToken")
	}
	if !token.Empty() && !pin.MatchString(token.Reveal()) {
		out = append(out, "k3s."+field+": whoever answers in a server's place is told it, as it does not name the cluster's authority: write the whole line, K10<digest>::…, of a server's /var/lib/rancher/k3s/server")
	}
	if c.Role == Agent && !c.K3s.BootstrapToken.Empty() && !c.K3s.AgentToken.Empty() {
		out = append(out, "k3s.agentToken: is not used beside bootstrapToken")
	}
	return out
}
