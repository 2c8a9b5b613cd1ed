package node

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/nearest"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

type validator struct{ *strictyaml.Findings }

// refuse records a finding about the field at a path like "k3s.servers.0".
func (v *validator) refuse(at, format string, args ...any) {
	v.Refuse(strings.Split(at, "."), format, args...)
}

// want refuses the field at a path with the message of err; a nil err is fine.
func (v *validator) want(at string, err error) {
	if err != nil {
		v.refuse(at, "%s", err)
	}
}

// refuseLabel refuses a label. Its name has dots in it, so refuse cannot be used.
func (v *validator) refuseLabel(name string, err error) {
	v.Refuse([]string{"k3s", "labels", name}, "%s", err)
}

func validate(doc *strictyaml.Document, c *Config) error {
	v := &validator{doc.Findings()}
	v.want("node", CheckHostname(c.Node))
	v.want("site", checkSite(c.Site))
	v.role(c)
	v.headscale(&c.Headscale)
	v.control(c)
	v.k3s(c)
	for i, k := range c.SSH.AuthorizedKeys {
		v.want("ssh.authorizedKeys."+strconv.Itoa(i), CheckAuthorizedKey(k))
	}
	v.want("ssh.hostKey", checkHostKey(c.SSH.HostKey.Reveal()))
	v.firewall(c)
	if c.Page != "" && c.Page != PageOn && c.Page != PageOff {
		v.refuse("page", "want on or off")
	}
	v.network(&c.Network)
	v.want("timezone", checkTimezone(c.Timezone))
	v.disk("dataDisk", c.DataDisk)
	v.disk("longhorn.disk", c.Longhorn.Disk)
	if c.DataDisk != (Disk{}) && c.DataDisk == c.Longhorn.Disk {
		v.refuse("longhorn.disk", "is the dataDisk: leave it out to keep volumes there")
	}
	v.storage(c)
	v.install(c.Install)
	v.files(c)
	if c.OwnerKey != "" {
		_, err := ParseOwnerKey(c.OwnerKey)
		v.want("ownerKey", err)
	}
	return v.Err()
}

func (v *validator) role(c *Config) {
	known := []string{string(Server), string(Agent), string(Witness), string(Control)}
	switch {
	case c.Role == "":
		v.refuse("role", "is missing; one of %s", strings.Join(known, ", "))
	case !slices.Contains(known, string(c.Role)):
		if near := nearest.Name(string(c.Role), known); near != "" {
			v.refuse("role", "unknown role %q (did you mean %q?)", c.Role, near)
			return
		}
		v.refuse("role", "unknown role %q; one of %s", c.Role, strings.Join(known, ", "))
	}
}

func (v *validator) headscale(h *Headscale) {
	v.want("headscale.url", CheckURL(h.URL))
	v.want("headscale.authKey", checkAuthKey(h.AuthKey))
	if h.CA != "" {
		v.want("headscale.ca", checkCA(h.CA))
	}
}

func checkAuthKey(key secret.String) error {
	if strings.ContainsFunc(key.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("contains a space or another character no key has: copy it again")
	}
	return nil
}

// CheckURL checks the address of a Headscale server.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return fmt.Errorf("is missing; the address of your Headscale, like https://headscale.example.net")
	case err != nil || u.Host == "" || u.Hostname() == "":
		return fmt.Errorf("is not an address like https://headscale.example.net")
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("begins with %q; want https:// (or http:// for a private address)", u.Scheme)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("has more than scheme, host and port: remove the rest")
	}
	return nil
}

func checkCA(text string) error {
	rest, n := []byte(text), 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("holds a %q; only certificates belong here", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("holds a damaged certificate: %w", err)
		}
		n++
	}
	if n == 0 || len(strings.TrimSpace(string(rest))) > 0 {
		return fmt.Errorf("want certificates in PEM form (-----BEGIN CERTIFICATE-----)")
	}
	return nil
}

// ownKeys are the settings of k3s that firstboot derives from the rest of the file or from the
// tailnet. A different value in k3s.config would break the node.
var ownKeys = []string{
	"advertise-address", "agent-token", "agent-token-file", "bind-address", "cluster-init", "cluster-reset", "data-dir",
	"disable-apiserver", "disable-controller-manager", "disable-etcd", "disable-scheduler", "flannel-iface",
	"node-external-ip", "node-ip", "node-label", "node-name", "node-taint", "server", "token", "token-file",
	"vpn-auth", "vpn-auth-file", "with-node-id",
}

var errDecided = errors.New("is decided by firstboot: remove it")

func (v *validator) k3s(c *Config) {
	k := &c.K3s
	if c.Role == Control {
		if !reflect.ValueOf(*k).IsZero() {
			v.refuse("k3s", "is for nodes of the cluster; one with role control is none")
		}
		return
	}
	for i, s := range k.Servers {
		v.want("k3s.servers."+strconv.Itoa(i), CheckHostname(s))
	}
	for i, t := range k.ServerTags {
		v.want("k3s.serverTags."+strconv.Itoa(i), checkTag(t))
	}
	switch {
	case k.Init && c.Role != Server:
		v.refuse("k3s.init", "only a node with role server can create the cluster")
	case !k.Init && len(c.OtherServers()) == 0:
		v.refuse("k3s.servers", "name at least one other server to join")
	}
	v.tokens(c)
	v.clusterCA(k)
	v.seed(k)
	for _, name := range sortedKeys(k.Labels) {
		if err := checkLabel(name, k.Labels[name]); err != nil {
			v.refuseLabel(name, err)
		}
	}
	for i, t := range k.Taints {
		v.want("k3s.taints."+strconv.Itoa(i), checkTaint(t))
	}
	v.want("k3s.config.etcd-arg", c.flags().checkEtcd())
	for _, name := range sortedKeys(k.Config) {
		if slices.Contains(ownKeys, name) {
			v.want("k3s.config."+name, errDecided)
		}
	}
}

// clusterCA requires either all files of a cluster's identity or none: k3s makes up the missing
// ones, and the tokens of the rest of the fleet would then pin another cluster.
func (v *validator) clusterCA(k *K3s) {
	switch {
	case len(k.CA) == 0:
		return
	case !k.Init:
		v.refuse("k3s.ca", "is for the server that creates the cluster (k3s: init: true); others get it from there")
	case !slices.Equal(sortedKeys(k.CA), contract.ClusterCAFiles()):
		v.refuse("k3s.ca", "want exactly the files %s", strings.Join(contract.ClusterCAFiles(), ", "))
	}
	for name, text := range k.CA {
		if block, _ := pem.Decode([]byte(text.Reveal())); block == nil {
			v.refuse("k3s.ca", "%s is not in PEM form", name)
		}
	}
}

func (v *validator) tokens(c *Config) {
	k := &c.K3s
	for _, t := range []struct {
		name string
		text string
	}{{"token", k.Token.Reveal()}, {"agentToken", k.AgentToken.Reveal()}, {"bootstrapToken", k.BootstrapToken.Reveal()}} {
		if strings.ContainsFunc(t.text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			v.refuse("k3s."+t.name, "contains a space or a line break: copy it again")
		}
	}
	_, join := c.JoinToken()
	switch {
	case c.Role != Agent && !k.BootstrapToken.Empty():
		v.refuse("k3s.bootstrapToken", "is for agents; servers need token")
	case !c.Sealed && c.Role != Agent && k.Token.Empty():
		v.refuse("k3s.token", "is missing; a %s needs the servers' token", c.Role)
	case !c.Sealed && c.Role == Agent && join.Empty():
		v.refuse("k3s.agentToken", "is missing; an agent needs agentToken or bootstrapToken")
	}
}

func (v *validator) network(n *Network) {
	for i := range n.Interfaces {
		v.iface("network.interfaces."+strconv.Itoa(i), &n.Interfaces[i])
	}
	for i, s := range n.NTP {
		v.want("network.ntp."+strconv.Itoa(i), checkServer(s))
	}
	for i, s := range n.NoProxy {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == ',' || r == '"' || r > '~' }) {
			v.refuse("network.noProxy."+strconv.Itoa(i), "want one host name, domain or network")
		}
	}
	if !n.Proxy.Empty() {
		u, err := url.Parse(n.Proxy.Reveal())
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.ContainsAny(n.Proxy.Reveal(), " \"\\\r\n\t") {
			v.refuse("network.proxy", "want an address like http://proxy.example.net:3128")
		}
	}
	if n.WiFi != nil {
		v.wifi(n.WiFi)
	}
}

func (v *validator) iface(at string, i *Interface) {
	if i.Name == "" || len(i.Name) > 15 || strings.ContainsFunc(i.Name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/:\"\\", r) }) {
		v.refuse(at+".name", "want the name of an interface, like eth0 or en*")
	}
	if i.VLAN < 0 || i.VLAN > 4094 {
		v.refuse(at+".vlan", "want a VLAN tag from 1 to 4094")
	}
	if i.VLAN > 0 && strings.ContainsAny(i.Name, "*?[") {
		v.refuse(at+".name", "a VLAN needs the name of one interface, not a pattern")
	}
	for n, a := range i.Addresses {
		if _, err := netip.ParsePrefix(a); err != nil {
			v.refuse(at+".addresses."+strconv.Itoa(n), "want an address with its prefix length, like 192.168.1.10/24")
		}
	}
	if i.Gateway != "" {
		v.want(at+".gateway", checkAddress(i.Gateway))
	}
	if i.Gateway != "" && len(i.Addresses) == 0 {
		v.refuse(at+".gateway", "makes sense only with addresses; DHCP brings its own")
	}
	for n, a := range i.DNS {
		v.want(at+".dns."+strconv.Itoa(n), checkAddress(a))
	}
}

func (v *validator) wifi(w *WiFi) {
	if w.SSID == "" || len(w.SSID) > 32 || strings.ContainsFunc(w.SSID, func(r rune) bool { return r < ' ' }) {
		v.refuse("network.wifi.ssid", "want the network's name, 1 to 32 bytes")
	}
	if n := len(w.PSK); n != 0 && (n < 8 || n > 64) || strings.ContainsFunc(w.PSK.Reveal(), func(r rune) bool { return r < ' ' || r > '~' }) {
		v.refuse("network.wifi.psk", wantPassphrase)
	}
	if len(w.Country) != 2 || strings.ToUpper(w.Country) != w.Country || strings.ContainsFunc(w.Country, func(r rune) bool { return r < 'A' || r > 'Z' }) {
		v.refuse("network.wifi.country", "want a two-letter country code, like PT")
	}
}

// filePlaces are the directories below which node.yaml may put files: they are persistent. Within
// them, checkPlace refuses the files that firstboot writes itself.
var filePlaces = []string{
	"/etc/imagebuilder/files", "/etc/modprobe.d", "/etc/modules-load.d", "/etc/rancher/k3s", "/etc/sysctl.d",
	"/etc/systemd/network", "/etc/systemd/system/k3s.service.d", "/etc/systemd/system/tailscaled.service.d", "/etc/udev/rules.d",
	"/var/lib/imagebuilder/files", "/var/lib/rancher/k3s/agent/etc", "/var/lib/rancher/k3s/server/manifests",
}

var ownFiles = []string{
	"/etc/rancher/k3s/config.yaml", "/etc/rancher/k3s/k3s.yaml", "/etc/rancher/k3s/k3s.env",
	"/etc/rancher/k3s/token", "/etc/rancher/k3s/agent-token",
}

func (v *validator) files(c *Config) {
	seen := map[string]bool{}
	for i := range c.Files {
		f, at := &c.Files[i], "files."+strconv.Itoa(i)
		v.want(at+".path", checkPlace(f.Path))
		if seen[f.Path] {
			v.refuse(at+".path", "is listed twice")
		}
		seen[f.Path] = true
		if _, _, err := f.OwnerIDs(); err != nil {
			v.want(at+".owner", err)
		}
	}
}

func checkPlace(p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' }) {
		return fmt.Errorf("want a clean absolute path")
	}
	if slices.Contains(ownFiles, p) || strings.HasPrefix(path.Base(p), "10-imagebuilder") {
		return fmt.Errorf("is written by firstboot: use the fields of this file")
	}
	for _, dir := range filePlaces {
		if strings.HasPrefix(p, dir+"/") {
			return nil
		}
	}
	return fmt.Errorf("is in none of the places for files: %s", strings.Join(filePlaces, ", "))
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
