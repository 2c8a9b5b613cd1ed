package firstboot

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

const generated = "# Written by firstboot from node.yaml; changes here are lost.\n"

// settings returns the files that node.yaml's plain settings become, grouped by the
// programs that read them.
func (m *machine) settings() ([]group, error) {
	network, err := m.networkGroup()
	if err != nil {
		return nil, err
	}
	firewall, err := m.firewallGroup()
	if err != nil {
		return nil, err
	}
	control, err := m.controlGroup()
	if err != nil {
		return nil, err
	}
	extra, err := m.earlyFiles()
	if err != nil {
		return nil, err
	}
	wifi, err := m.wifiFiles()
	if err != nil {
		return nil, err
	}
	return []group{
		{"names", m.nameFiles(), func(context.Context) error { return nil }},
		{"login", m.loginFiles(), m.retell("ssh.service")},
		network,
		{"wifi", wifi, m.tellWiFi},
		firewall,
		{"time", m.timeFiles(), m.retell("systemd-timesyncd.service")},
		{"way", m.wayFiles(), m.retell(tailscaled, contract.HeadscaleUnit)},
		control,
		{"files", extra, m.tellFiles},
	}, nil
}

func (m *machine) nameFiles() []file {
	return []file{
		text644("/etc/hostname", m.cfg.Node+"\n"),
		text644("/etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\t"+m.cfg.Node+"\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"),
	}
}

func (m *machine) loginFiles() []file {
	return []file{
		text644("/etc/ssh/sshd_config.d/10-imagebuilder.conf", generated+"AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys/%u\nPasswordAuthentication no\n"),
		{path: "/etc/ssh/authorized_keys/root", data: []byte(lines(m.cfg.SSH.AuthorizedKeys)), mode: 0o600},
	}
}

// timeFiles follow timesyncd.conf(5). The empty list forgets the image's servers.
func (m *machine) timeFiles() []file {
	ntp := m.cfg.Network.NTP
	f := text644("/etc/systemd/timesyncd.conf.d/10-imagebuilder.conf", generated+"[Time]\nNTP=\nNTP="+strings.Join(ntp, " ")+"\n")
	f.absent = len(ntp) == 0
	return []file{f}
}

// networkGroup also removes what an earlier node.yaml left behind.
func (m *machine) networkGroup() (group, error) {
	all := networkFiles(&m.cfg.Network)
	have, err := m.Files.List(networkDir)
	if err != nil {
		return group{}, err
	}
	for _, name := range have {
		p := networkDir + "/" + name
		if strings.HasPrefix(name, "10-imagebuilder-") && !slices.ContainsFunc(all, func(f file) bool { return f.path == p }) {
			all = append(all, file{path: p, absent: true})
		}
	}
	return group{"network", all, m.tellNetwork}, nil
}

func (m *machine) tellNetwork(ctx context.Context) error {
	up, err := m.Units.Active(ctx, "systemd-networkd.service")
	if err != nil {
		return err
	}
	if up {
		_, err = m.Programs.Run(ctx, "networkctl", "reload")
	}
	return err
}

// tellWiFi restarts wpa_supplicant. That starts a unit that waited for its file, and
// stops one whose file is gone: its condition then fails.
func (m *machine) tellWiFi(ctx context.Context) error {
	const unit = "wpa_supplicant@wlan0.service"
	if m.cfg.Network.WiFi == nil {
		return m.retell(unit)(ctx)
	}
	return m.Units.Restart(ctx, unit)
}

// tellFiles repeats what applies such files when the machine starts.
func (m *machine) tellFiles(ctx context.Context) error {
	restart := func(unit string) func(context.Context) error {
		return func(ctx context.Context) error { return m.Units.Restart(ctx, unit) }
	}
	for _, r := range []struct {
		dir  string
		tell func(context.Context) error
	}{
		{"/etc/systemd/system/", m.Units.Reload},
		{"/etc/modules-load.d/", restart("systemd-modules-load.service")},
		{"/etc/sysctl.d/", restart("systemd-sysctl.service")},
		{"/etc/rancher/k3s/", m.retell(k3sUnit)},
	} {
		in := func(f node.File) bool { return strings.HasPrefix(f.Path, r.dir) }
		if !slices.ContainsFunc(m.cfg.Files, in) {
			continue
		}
		if err := r.tell(ctx); err != nil {
			return err
		}
	}
	return nil
}

// retell returns a function that restarts those of the units that run, so that they read
// their settings again; the others read them when they start. The settings are never unit
// files: systemd's daemon-reload takes seconds on a Pi, in the middle of a boot.
func (m *machine) retell(units ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, unit := range units {
			up, err := m.Units.Active(ctx, unit)
			if err == nil && up {
				err = m.Units.Restart(ctx, unit)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func lines(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return strings.Join(list, "\n") + "\n"
}

// networkFiles follow systemd.network(5) and systemd.netdev(5). Without any, the image's
// own files apply: DHCP on every port.
func networkFiles(n *node.Network) []file {
	var out []file
	vlans := map[string][]string{}
	for i, f := range n.Interfaces {
		name := f.Name
		if f.VLAN > 0 {
			name = fmt.Sprintf("vlan%d", f.VLAN)
			vlans[f.Name] = append(vlans[f.Name], name)
			out = append(out, networkd(fmt.Sprintf("10-imagebuilder-%02d.netdev", i),
				fmt.Sprintf("[NetDev]\nName=%s\nKind=vlan\n\n[VLAN]\nId=%d\n", name, f.VLAN)))
		}
		out = append(out, networkd(fmt.Sprintf("10-imagebuilder-%02d.network", i), interfaceText(name, f, vlansOn(n, f))))
	}
	for i, f := range n.Interfaces { // ports that carry nothing but VLANs
		if f.VLAN > 0 && !hasPlain(n, f.Name) && vlans[f.Name] != nil {
			out = append(out, networkd(fmt.Sprintf("10-imagebuilder-%02d-port.network", i),
				"[Match]\nName="+f.Name+"\n\n[Network]\nLinkLocalAddressing=no\n"+vlanLines(vlans[f.Name])))
			vlans[f.Name] = nil
		}
	}
	return out
}

// wifiFiles returns nothing if sealing has removed the password: the file on the node
// stays, as long as it is for the network that node.yaml names. A network without a password
// is an open one. If node.yaml names no Wi-Fi any more, the file must be absent.
func (m *machine) wifiFiles() ([]file, error) {
	w := m.cfg.Network.WiFi
	if w == nil {
		return []file{{path: wifiFile, absent: true}}, nil
	}
	if w.PSK.Empty() && m.cfg.Sealed {
		have, err := m.read(wifiFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if bytes.Contains(have, []byte(ssidLine(w))) {
			return nil, nil
		}
	}
	return []file{{path: wifiFile, data: []byte(wifiText(w)), mode: 0o600}}, nil
}

const (
	networkDir = "/etc/systemd/network"
	wifiFile   = "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf"
)

func networkd(name, content string) file {
	return text644(networkDir+"/"+name, generated+content)
}

func hasPlain(n *node.Network, name string) bool {
	for _, f := range n.Interfaces {
		if f.Name == name && f.VLAN == 0 {
			return true
		}
	}
	return false
}

// vlansOn returns the names of the VLANs on top of a plain interface.
func vlansOn(n *node.Network, port node.Interface) []string {
	if port.VLAN > 0 {
		return nil
	}
	var out []string
	for _, f := range n.Interfaces {
		if f.Name == port.Name && f.VLAN > 0 {
			out = append(out, fmt.Sprintf("vlan%d", f.VLAN))
		}
	}
	return out
}

func vlanLines(names []string) string {
	var b strings.Builder
	for _, v := range names {
		b.WriteString("VLAN=" + v + "\n")
	}
	return b.String()
}

// portKind has the settings, by section, that the image's own file for such ports has: it
// does not count for a port that has a file here.
type portKind struct{ link, network, dhcp, advertised string }

var (
	wiredPort = portKind{"RequiredForOnline=routable\n", "LLDP=no\nEmitLLDP=no\n", "ClientIdentifier=mac\nUseDomains=yes\n", "UseDomains=yes\n"}
	radioPort = portKind{"RequiredForOnline=no\n", "IgnoreCarrierLoss=3s\n", "ClientIdentifier=mac\nRouteMetric=2048\n", "RouteMetric=2048\n"}
)

func interfaceText(name string, f node.Interface, vlans []string) string {
	kind, radio := wiredPort, strings.HasPrefix(name, "wl")
	if radio {
		kind = radioPort
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[Match]\nName=%s\n\n[Link]\n%s\n[Network]\nMulticastDNS=yes\n%s", name, kind.link, kind.network)
	if len(f.Addresses) == 0 {
		b.WriteString("DHCP=yes\n")
	}
	for _, a := range f.Addresses {
		b.WriteString("Address=" + a + "\n")
	}
	if f.Gateway != "" && !radio {
		b.WriteString("Gateway=" + f.Gateway + "\n")
	}
	for _, d := range f.DNS {
		b.WriteString("DNS=" + d + "\n")
	}
	b.WriteString(vlanLines(vlans))
	if f.Gateway != "" && radio { // a cable is preferred where there is one
		b.WriteString("\n[Route]\nGateway=" + f.Gateway + "\nMetric=2048\n")
	}
	if len(f.Addresses) == 0 {
		b.WriteString("\n[DHCPv4]\n" + kind.dhcp)
	}
	b.WriteString("\n[IPv6AcceptRA]\n" + kind.advertised)
	return b.String()
}

// wifiText follows wpa_supplicant.conf(5). Quotes around the passphrase keep it from ending
// its line. scan_ssid finds a network that hides its name.
func wifiText(w *node.WiFi) string {
	return fmt.Sprintf("%sctrl_interface=/run/wpa_supplicant\ncountry=%s\nnetwork={\n%s\tscan_ssid=1\n%s}\n",
		generated, w.Country, ssidLine(w), wifiKey(w))
}

// ssidLine has the name in hex, which cannot end the line.
func ssidLine(w *node.WiFi) string {
	return "\tssid=" + hex.EncodeToString([]byte(w.SSID)) + "\n"
}

func wifiKey(w *node.WiFi) string {
	if w.PSK.Empty() {
		return "\tkey_mgmt=NONE\n"
	}
	psk := `"` + w.PSK.Reveal() + `"` // read literally up to the last quote
	if len(w.PSK) == 64 {
		psk = w.PSK.Reveal() // the key itself, in hex
	}
	return "\tkey_mgmt=WPA-PSK SAE\n\tieee80211w=1\n\tpsk=" + psk + "\n"
}

const (
	proxyEnv = "/etc/imagebuilder/proxy.env"
	caDir    = "/etc/imagebuilder/ca"
	caFile   = caDir + "/headscale.pem"
)

// wayFiles tell tailscaled, Headscale and k3s, whose units name these files, which proxy
// and which certificate authority to use on the way out. The proxy's URL may hold a
// password: its file stays when sealing has removed it from node.yaml.
func (m *machine) wayFiles() []file {
	ca := text644(caFile, m.cfg.Headscale.CA)
	ca.absent = m.cfg.Headscale.CA == ""
	return append([]file{ca}, m.proxyFiles()...)
}

func (m *machine) proxyFiles() []file {
	proxy := m.cfg.Network.Proxy
	if proxy.Empty() && m.cfg.Sealed {
		return nil
	}
	return []file{{path: proxyEnv, data: []byte(m.proxyText()), mode: 0o600, absent: proxy.Empty()}}
}

// proxyText exempts the tailnet and the cluster's own networks from the proxy.
func (m *machine) proxyText() string {
	direct := []string{"localhost", "127.0.0.0/8", "::1"}
	for _, n := range slices.Concat(m.cfg.K3s.Config.PodNetworks(), m.cfg.K3s.Config.ServiceNetworks()) {
		direct = append(direct, n.String())
	}
	direct = append(direct, contract.TailnetNetwork, ".svc", ".cluster.local")
	direct = append(direct, m.cfg.Network.NoProxy...)
	p, no := m.cfg.Network.Proxy.Reveal(), strings.Join(direct, ",")
	return fmt.Sprintf("HTTP_PROXY=\"%s\"\nHTTPS_PROXY=\"%s\"\nNO_PROXY=\"%s\"\n", p, p, no)
}
