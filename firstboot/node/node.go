// Package node is the schema of node.yaml: which machine this is, where it belongs, and the secrets
// it needs once. The program that flashes a card writes the file; the program that runs when the
// card boots reads it.
//
// The package reads, checks, completes, signs and writes the file's content, and knows which fields
// only the owner may change. It refuses unknown fields, values that would be wrong on any machine,
// and files of another schema version. It does not touch a disk, a network or the machine, and does
// not judge values that only the machine can judge.
package node

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// Version is the schema this package reads and writes.
const Version = 1

// FileName is the file's name on the boot partition, in its root directory.
const FileName = "node.yaml"

// ReservedSize is the length of the file on every image, in bytes: its
// clusters are reserved when the image is made, so that a node can be
// personalised, and its secrets overwritten, in place.
const ReservedSize = 32 << 10

// Config is node.yaml. Every value in it is final: a node receives one flat answer, and never sees
// the fleet's configuration.
type Config struct {
	Version int `yaml:"version"`
	// Node is the hostname, unique in the fleet: one RFC 1123 label.
	Node string `yaml:"node"`
	// Board is the image this file is meant for; empty fits any.
	Board string `yaml:"board,omitempty"`
	// Site becomes the labels topology.kubernetes.io/region and /zone.
	Site      string    `yaml:"site"`
	Role      Role      `yaml:"role"`
	Headscale Headscale `yaml:"headscale"`
	// Control makes this node the one that serves headscale.url.
	Control  *ControlServer `yaml:"control,omitempty"`
	K3s      K3s            `yaml:"k3s,omitempty"`
	SSH      SSH            `yaml:"ssh,omitempty"`
	Firewall Firewall       `yaml:"firewall,omitempty"`
	// Page is "off" for a node that shows no page on the LAN; default "on".
	Page    Page    `yaml:"page,omitempty"`
	Network Network `yaml:"network,omitempty"`
	// Timezone is a name of the tz database; default Etc/UTC.
	Timezone string `yaml:"timezone,omitempty"`
	// DataDisk is the disk for /var if that is not on the boot disk. It has no effect once the node
	// has an identity, which stays where it is.
	DataDisk Disk `yaml:"dataDisk,omitempty"`
	// Install copies the system from a stick onto a disk of the computer.
	Install  *Install `yaml:"install,omitempty"`
	Longhorn Longhorn `yaml:"longhorn,omitempty"`
	Storage  Storage  `yaml:"storage,omitempty"`
	Files    []File   `yaml:"files,omitempty"`
	// OwnerKey is the public key, in minisign's format, of the person who may change everything on
	// a sealed node. The first node.yaml sets it.
	OwnerKey string `yaml:"ownerKey,omitempty"`
	// Sealed says that the node has used its secrets and removed them from this file. A person who
	// adds a new key leaves Sealed as it is.
	Sealed bool `yaml:"sealed,omitempty"`
}

// Role says what the node does in the cluster.
type Role string

// The roles. A witness is a server that runs nothing but etcd and breaks ties. A node of role
// control runs the tailnet's Headscale and no part of the cluster; a witness may do both.
const (
	Server  Role = "server"
	Agent   Role = "agent"
	Witness Role = "witness"
	Control Role = "control"
)

// Votes reports whether the node is a member of etcd: without more than half of its members the
// cluster stands still.
func (r Role) Votes() bool { return r == Server || r == Witness }

// Headscale says which tailnet to join.
type Headscale struct {
	URL string `yaml:"url"`
	// AuthKey is single-use. It is removed once the node has joined.
	AuthKey secret.String `yaml:"authKey,omitempty"`
	// CA holds PEM certificates to trust besides those of the system.
	CA string `yaml:"ca,omitempty"`
}

// K3s says how the node takes part in the cluster.
type K3s struct {
	// Init permits this server to create the cluster. It does not while another server of the list
	// may already have one.
	Init bool `yaml:"init,omitempty"`
	// Servers are the hostnames of all servers; the node's own is ignored.
	Servers []string `yaml:"servers,omitempty"`
	// ServerTags are tags of the tailnet. A server must have one of them before this node shows it
	// a token; default: the tags of this node.
	ServerTags []string `yaml:"serverTags,omitempty"`
	// Token is the servers' token. It opens everything: agents get AgentToken or BootstrapToken
	// instead.
	Token          secret.String `yaml:"token,omitempty"`
	AgentToken     secret.String `yaml:"agentToken,omitempty"`
	BootstrapToken secret.String `yaml:"bootstrapToken,omitempty"`
	// CA holds the cluster's certificate authorities and their keys as PEM, by the names of
	// contract.ClusterCAFiles, for the server that creates the cluster. Without them k3s makes its
	// own.
	CA map[string]secret.String `yaml:"ca,omitempty"`
	// Labels and Taints are the node's; a taint is KEY=VALUE:EFFECT.
	Labels map[string]string `yaml:"labels,omitempty"`
	Taints []string          `yaml:"taints,omitempty"`
	// Config has further flags of k3s by their long names.
	Config Settings `yaml:"config,omitempty"`
	// Seed is what the cluster begins with, for the server that creates it.
	Seed Seed `yaml:"seed,omitempty"`
}

// Seed holds Kubernetes objects. They are in node.yaml and not in the image: after a fallback, the
// older slot would apply its older objects again, and a chart must not be downgraded.
type Seed struct {
	// Manifests are files for k3s' deploy controller, by the addons' names.
	Manifests map[string]string `yaml:"manifests,omitempty"`
	// Secrets are never written to a file that k3s reads.
	Secrets []Secret `yaml:"secrets,omitempty"`
	// Restore is for a cluster that replaces a lost one.
	Restore *Restore `yaml:"restore,omitempty"`
}

// Restore restores volumes, with their claims, from a system backup of Longhorn.
type Restore struct {
	// SystemBackup is its name in the bucket that Longhorn backs up to.
	SystemBackup string `yaml:"systemBackup"`
	// Claims have to be restored before the rest begins. A claim without a backup gets an empty
	// volume.
	Claims Claims `yaml:"claims,omitempty"`
	// Namespaces is set in files from before Claims existed. No update may refuse such a file.
	Namespaces []string `yaml:"namespaces,omitempty"`
	// Manifests are further files of the seed that have to wait until everything is restored: they
	// would otherwise create empty volumes of the same names.
	Manifests map[string]string `yaml:"manifests,omitempty"`
}

// Secret is a Secret object of Kubernetes.
type Secret struct {
	Namespace string                   `yaml:"namespace"`
	Name      string                   `yaml:"name"`
	Labels    map[string]string        `yaml:"labels,omitempty"`
	Data      map[string]secret.String `yaml:"data"`
}

// SSH says who may log in.
type SSH struct {
	// AuthorizedKeys are public keys that may log in as root, as lines "TYPE BASE64 [COMMENT]".
	AuthorizedKeys []string `yaml:"authorizedKeys,omitempty"`
	// LAN allows logins from the private networks that the node is connected to; default true,
	// so that a node without its tailnet can be reached.
	LAN *bool `yaml:"lan,omitempty"`
	// HostKey is the node's own ed25519 key, in OpenSSH's form, for one that
	// must be known before it was ever seen. Without it the node makes its own.
	HostKey secret.String `yaml:"hostKey,omitempty"`
}

// Firewall opens services, by name, beyond the tailnet.
type Firewall struct {
	// LAN lists services open to the private networks that the node is connected to.
	LAN []string `yaml:"lan,omitempty"`
	// Public lists services open to everybody.
	Public []string `yaml:"public,omitempty"`
}

// Page switches on or off the page that a node shows on the LAN until it has joined, and whenever
// it needs a person.
type Page string

// The settings of Page.
const (
	PageOn  Page = "on"
	PageOff Page = "off"
)

// Network is needed only where DHCP on every wired port is not enough.
type Network struct {
	Interfaces []Interface `yaml:"interfaces,omitempty"`
	WiFi       *WiFi       `yaml:"wifi,omitempty"`
	NTP        []string    `yaml:"ntp,omitempty"`
	// Proxy is an http or https URL; it may contain a password.
	Proxy secret.String `yaml:"proxy,omitempty"`
	// NoProxy lists further names and networks to be reached without the proxy.
	NoProxy []string `yaml:"noProxy,omitempty"`
}

// Interface configures one port, or a VLAN on it. Without Addresses it asks
// DHCP.
type Interface struct {
	// Name is the kernel's name of the port, such as eth0, or a shell pattern of it.
	Name string `yaml:"name"`
	// VLAN is the VLAN tag, 1 to 4094; 0 is none.
	VLAN int `yaml:"vlan,omitempty"`
	// Addresses are fixed addresses in CIDR notation; without any the port uses DHCP.
	Addresses []string `yaml:"addresses,omitempty"`
	// Gateway is the router's address, in one of the networks of Addresses.
	Gateway string `yaml:"gateway,omitempty"`
	// DNS are the addresses of name servers.
	DNS []string `yaml:"dns,omitempty"`
}

// WiFi joins one WPA2 or WPA3 personal network, or an open one: that has no PSK.
type WiFi struct {
	SSID string        `yaml:"ssid"`
	PSK  secret.String `yaml:"psk,omitempty"`
	// Country is the two-letter code whose radio rules apply.
	Country string `yaml:"country"`
}

// Longhorn says where volumes live.
type Longhorn struct {
	// Disk is a disk for volumes; without one, volumes lie on the data partition.
	Disk Disk `yaml:"disk,omitempty"`
}

// File is one more file for the node, in one of filePlaces.
type File struct {
	Path string `yaml:"path"`
	// Mode is octal; default 0600, 0644 below /etc/systemd.
	Mode Mode `yaml:"mode,omitempty"`
	// Owner is "root" (the default) or "UID:GID" in decimal.
	Owner string `yaml:"owner,omitempty"`
	// Content is treated as a secret, since it may be one.
	Content secret.String `yaml:"content,omitempty"`
}

// Settings are flags of k3s. Some are passwords, so printing shows a placeholder for all of them;
// YAML contains the values.
type Settings map[string]any

// Format prints the placeholder for every verb.
func (s Settings) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "(%d settings)", len(s)) }

// Mode is a file's permission bits, written in octal.
type Mode fs.FileMode

// UnmarshalYAML reads octal digits, quoted or not.
func (m *Mode) UnmarshalYAML(n *yaml.Node) error {
	v, err := strconv.ParseUint(strings.TrimPrefix(n.Value, "0o"), 8, 32)
	if n.Kind != yaml.ScalarNode || err != nil || v > 0o777 {
		return fmt.Errorf("want a mode in octal up to 0777, like 0644")
	}
	*m = Mode(v)
	return nil
}

// MarshalYAML writes a quoted octal number.
func (m Mode) MarshalYAML() (any, error) { return fmt.Sprintf("%04o", uint32(m)), nil }

// OwnerIDs returns Owner as numbers.
func (f *File) OwnerIDs() (uid, gid int, err error) {
	if f.Owner == "" || f.Owner == "root" {
		return 0, 0, nil
	}
	u, g, ok := strings.Cut(f.Owner, ":")
	id, err := strconv.ParseUint(u, 10, 31)
	gr, err2 := strconv.ParseUint(g, 10, 31)
	if !ok || err != nil || err2 != nil {
		return 0, 0, fmt.Errorf("want \"root\" or \"UID:GID\" in decimal")
	}
	return int(id), int(gr), nil
}

// OtherServers returns K3s.Servers without the node itself.
func (c *Config) OtherServers() []string {
	var out []string
	for _, s := range c.K3s.Servers {
		if s != c.Node {
			out = append(out, s)
		}
	}
	return out
}

// JoinToken returns the token that this node shows to a server, and the name of its field in k3s.
func (c *Config) JoinToken() (field string, t secret.String) {
	switch k := &c.K3s; {
	case c.Role == Agent && !k.BootstrapToken.Empty():
		return "bootstrapToken", k.BootstrapToken
	case c.Role == Agent && !k.AgentToken.Empty():
		return "agentToken", k.AgentToken
	default:
		return "token", k.Token
	}
}
