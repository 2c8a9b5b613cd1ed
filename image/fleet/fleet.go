// Package fleet reads fleet.yaml, which describes one cluster, its sites and its nodes, and
// makes of it one flat node.yaml for each node.
//
// All precedence is resolved here: a node's own setting, then its site's, then the
// cluster's. fleet.yaml contains references to secrets, never the secrets themselves; they
// are read only when a node's node.yaml is made.
//
// The package refuses a file from which no node could be made, with line, field and the
// nearest known name. It mints no keys, builds no images and talks to no server.
package fleet

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Version is the schema version that this package reads.
const Version = 1

// FileName is the name of the file if none is given.
const FileName = "fleet.yaml"

// Fleet is fleet.yaml.
type Fleet struct {
	// Version of the schema; 1.
	Version int `yaml:"version"`
	// Cluster is what all nodes share.
	Cluster Cluster `yaml:"cluster"`
	// Sites are places with a network each, by short names.
	Sites map[string]Site `yaml:"sites"`
	// Nodes are machines by host name. The first server creates the cluster.
	Nodes Nodes `yaml:"nodes"`
	// Images are container images that k3s finds without a registry, for all nodes
	// of a board: what the board itself has is there too.
	Images map[string][]string `yaml:"images"`

	file string // for errors
	dir  string // references to files are relative to it
}

// Cluster is what all nodes share.
type Cluster struct {
	// Name is a DNS label; the cluster's certificates and the kubeconfig's
	// context are called by it.
	Name string `yaml:"name"`
	// Headscale is the tailnet that all nodes join.
	Headscale Headscale `yaml:"headscale"`
	// K3s is the cluster's own identity and settings.
	K3s K3s `yaml:"k3s"`
	// Longhorn is the cluster's storage; left out, it has none but the nodes'.
	Longhorn *Longhorn `yaml:"longhorn"`
	// Storage says how nodes' data lie on their disks, where a node says nothing.
	Storage Storage `yaml:"storage"`
	// GitOps lets Argo CD follow a Git repository; left out, there is none.
	GitOps *GitOps `yaml:"gitops"`
	// Secrets are put into the new cluster, where what Git has refers to them.
	Secrets []Secret `yaml:"secrets"`
	// Names are applications'; left out, nodes alone have names in the tailnet.
	Names Names `yaml:"names"`
	// SSH says who may log in to every node.
	SSH SSH `yaml:"ssh"`
	// OwnerKey is the minisign public key whose signature nodes ask for.
	OwnerKey string `yaml:"ownerKey"`
	// Contact is whom a helper calls, as it stands on the label of a box.
	Contact string `yaml:"contact"`
}

// Headscale is the server that all nodes join, and how keys are minted there.
type Headscale struct {
	// URL is its address, like https://headscale.example.net.
	URL string `yaml:"url"`
	// APIKey opens the server's API to the owner, never to a node.
	APIKey Ref `yaml:"apiKey"`
	// User owns the keys; default "fleet".
	User string `yaml:"user"`
	// KeyExpiry is how long a card may be on its way; default 14d.
	KeyExpiry Duration `yaml:"keyExpiry"`
	// CA are PEM certificates to trust besides the system's.
	CA Ref `yaml:"ca"`
	// Server is what the node with role control needs.
	Server Server `yaml:"server"`
}

// Server is the fleet's own Headscale. Without Cert it asks Let's Encrypt for a
// certificate.
type Server struct {
	// ACME is the directory of an authority to ask instead, such as one of your
	// own, or Let's Encrypt's for tests. What it is trusted by belongs to ca.
	ACME string `yaml:"acme"`
	// Email is told to the authority; it may be left out.
	Email string `yaml:"email"`
	// Cert is a certificate and those between it and its authority.
	Cert Ref `yaml:"cert"`
	// Key is the certificate's.
	Key Ref `yaml:"key"`
	// HostKey is the machine's ssh key, made at home so that it is known before
	// it was ever seen: ed25519, of OpenSSH's form.
	HostKey Ref `yaml:"hostKey"`
	// LoginKey is what "headscale init" logs in with: ed25519, of OpenSSH's form.
	LoginKey Ref `yaml:"loginKey"`
	// Backup says where copies of its database and keys go each night.
	Backup Backup `yaml:"backup"`
}

// K3s is the cluster's own identity and settings.
type K3s struct {
	// Init names the server that may create the cluster; default the first.
	Init string `yaml:"init"`
	// Token is the servers', which opens everything.
	Token Ref `yaml:"token"`
	// AgentToken lets agents join, and nobody else.
	AgentToken Ref `yaml:"agentToken"`
	// CA is the cluster's identity, as "fleet init" makes it: it goes to the
	// server that creates the cluster.
	CA Ref `yaml:"ca"`
	// Config has flags of k3s for servers and witnesses, by their long names.
	Config map[string]any `yaml:"config"`
	// WorkOnServers lets pods run on servers though there are agents; default no.
	WorkOnServers bool `yaml:"workOnServers"`
	// ShareImages lets nodes take container images from each other before they ask
	// a registry.
	ShareImages bool `yaml:"shareImages"`
	// Backup is the bucket that snapshots of etcd go to, twice a day unless
	// config has etcd-snapshot-schedule-cron. It keeps 28 of each server, more where
	// config's etcd-snapshot-retention is more, in a folder of this cluster's below
	// prefix, by default the fleet's name.
	Backup *S3 `yaml:"backup"`
}

// Longhorn is storage over the nodes with role agent.
type Longhorn struct {
	// Replicas of each volume, each at a site of its own, or, where all agents are
	// at one, on an agent of its own; default two where there is room for two.
	Replicas int `yaml:"replicas"`
	// Backup is the bucket that volumes are backed up to each night.
	Backup *S3 `yaml:"backup"`
}

// GitOps is a Git repository with what the cluster shall run.
type GitOps struct {
	// Repo is its address, like ssh://git@git.example.net/home/cluster.git.
	Repo string `yaml:"repo"`
	// Path in it, of which all is applied; default the whole of it.
	Path string `yaml:"path"`
	// Revision is a branch, tag or commit; default main.
	Revision string `yaml:"revision"`
	// DeployKey is an ssh key that may read it.
	DeployKey Ref `yaml:"deployKey"`
	// KnownHosts are the server's host keys, in ssh's format; those of GitHub, GitLab,
	// Bitbucket and Azure are known.
	KnownHosts Ref `yaml:"knownHosts"`
}

// Secret is a Secret object of Kubernetes with its values by reference.
type Secret struct {
	// Namespace is made, too, where it is not there.
	Namespace string `yaml:"namespace"`
	// Name of the Secret in its namespace.
	Name string `yaml:"name"`
	// Data are the values by their keys. A line break at the end is cut off.
	Data map[string]Ref `yaml:"data"`
}

// Site is a place with one network.
type Site struct {
	// Timezone is a name of the tz database; default Etc/UTC.
	Timezone string `yaml:"timezone"`
	// Network is needed where DHCP on every wired port is not enough.
	Network Network `yaml:"network"`
	// Page is "off" where nodes show no page on the LAN; default "on".
	Page node.Page `yaml:"page"`
	// LAN are the networks of the place in CIDR notation, to be compared with
	// the cluster's.
	LAN []string `yaml:"lan"`
	// Contact goes before the cluster's.
	Contact string `yaml:"contact"`
}

// SSH is node.SSH without a host key, which is a secret, and one node's alone.
type SSH struct {
	// AuthorizedKeys are lines "TYPE BASE64 [COMMENT]" for the user root.
	AuthorizedKeys []string `yaml:"authorizedKeys"`
	// LAN lets the private networks that the node is part of log in; default
	// true, so that a node whose tailnet is dead can be reached.
	LAN *bool `yaml:"lan"`
}

// Node is one machine.
type Node struct {
	// Board is one that comes with imagebuilder.
	Board string `yaml:"board"`
	// Site is one of sites.
	Site string `yaml:"site"`
	// Role is server, agent, witness or control; [control, witness] is both.
	Role Roles `yaml:"role"`
	// Labels of the node in Kubernetes, like example.net/disk: ssd; those of its site
	// come by themselves.
	Labels map[string]string `yaml:"labels"`
	// Taints of the node in Kubernetes, as KEY=VALUE:EFFECT.
	Taints []string `yaml:"taints"`
	// Network goes before the site's, field by field.
	Network Network `yaml:"network"`
	// SSH adds to the cluster's.
	SSH SSH `yaml:"ssh"`
	// Firewall opens services by name: http, https, ssh.
	Firewall node.Firewall `yaml:"firewall"`
	// K3s has flags for this node, which come before the cluster's.
	K3s NodeK3s `yaml:"k3s"`
	// DataDisk is the disk for /var where that is not on the boot disk, by its
	// name below /dev/disk/by-id or by model and size.
	DataDisk node.Disk `yaml:"dataDisk"`
	// Install makes of the node's card a stick that copies its system onto a disk of
	// the computer; for boards with UEFI or BIOS.
	Install *node.Install `yaml:"install"`
	// Longhorn says where the node keeps volumes.
	Longhorn node.Longhorn `yaml:"longhorn"`
	// Storage goes before the cluster's.
	Storage Storage `yaml:"storage"`
	// Machine is how large it is, for "plan --resources"; the node is not told.
	Machine Machine `yaml:"machine"`
	// Files are written onto the node.
	Files []File `yaml:"files"`
}

// Machine is what work has room on.
type Machine struct {
	// CPUs are its processors' threads.
	CPUs int `yaml:"cpus"`
	// MemoryGiB is its memory.
	MemoryGiB int `yaml:"memoryGiB"`
	// DiskGiB is how large that is where Longhorn has its volumes; 0 is unknown.
	DiskGiB int `yaml:"diskGiB"`
}

// NodeK3s is what one node of the cluster has for itself.
type NodeK3s struct {
	// Config has flags of k3s by their long names.
	Config map[string]any `yaml:"config"`
}

// File is node.File with its content by reference.
type File struct {
	// Path on the node.
	Path string `yaml:"path"`
	// Mode is octal; default 0600, 0644 below /etc/systemd.
	Mode node.Mode `yaml:"mode"`
	// Owner is "root" (the default) or "UID:GID" in decimal.
	Owner string `yaml:"owner"`
	// Content is text; the node's file ends with one line break.
	Content Ref `yaml:"content"`
}

// Nodes are machines by host name, in the order of the file: the first server
// creates the cluster unless the file says otherwise.
type Nodes struct {
	Names []string
	by    map[string]Node
	lines map[string]int // of the file, where each begins
}

// UnmarshalYAML keeps the order, which a map loses.
func (n *Nodes) UnmarshalYAML(y *yaml.Node) error {
	if err := strictyaml.DecodeNode(y, &n.by); err != nil {
		return err
	}
	n.Names, n.lines = nil, map[string]int{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		n.Names = append(n.Names, y.Content[i].Value)
		n.lines[y.Content[i].Value] = y.Content[i].Line
	}
	return nil
}

// Get returns a node by its name.
func (n *Nodes) Get(name string) (Node, bool) {
	found, ok := n.by[name]
	return found, ok
}

// LoadFile reads, checks and completes a fleet file. boards are the board names that nodes
// may have; nil skips that check.
func LoadFile(name string, boards []string) (*Fleet, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Load(name, data, boards)
}

// Load is LoadFile for data that was read already.
func Load(name string, data []byte, boards []string) (*Fleet, error) {
	doc, err := strictyaml.Parse(name, data)
	if err != nil {
		return nil, err
	}
	f := Fleet{file: name, dir: filepath.Dir(name)}
	if err := doc.Decode(&f); err != nil {
		return nil, err
	}
	f.setDefaults()
	if err := validate(doc, &f, boards); err != nil {
		return nil, err
	}
	return &f, nil
}

func (f *Fleet) setDefaults() {
	h := &f.Cluster.Headscale
	if h.User == "" {
		h.User = "fleet"
	}
	if h.KeyExpiry == 0 {
		h.KeyExpiry = Duration(14 * 24 * time.Hour)
	}
	if g := f.Cluster.GitOps; g != nil {
		g.Path, g.Revision = cmp.Or(g.Path, "."), cmp.Or(g.Revision, "main")
	}
	if l := f.Cluster.Longhorn; l != nil && l.Replicas == 0 {
		l.Replicas = min(2, places(f.storage()))
	}
	if k := &f.Cluster.K3s; k.Init == "" {
		if servers := f.Servers(); len(servers) > 0 {
			k.Init = servers[0]
		}
	}
}

// Place is where a node is in the file, such as fleet.yaml:12.
func (f *Fleet) Place(name string) string {
	return fmt.Sprintf("%s:%d", f.file, f.Nodes.lines[name])
}

// Dir is the directory of the fleet's file and its secrets.
func (f *Fleet) Dir() string { return f.dir }

// Servers lists the nodes with role server, in the order of the file.
func (f *Fleet) Servers() []string {
	return slices.DeleteFunc(slices.Clone(f.Nodes.Names), func(name string) bool { return f.Nodes.by[name].Role.In() != node.Server })
}

// Voters lists the nodes that vote in etcd, in the order of the file.
func (f *Fleet) Voters() []string {
	return slices.DeleteFunc(slices.Clone(f.Nodes.Names), func(name string) bool { return !f.Nodes.by[name].Role.In().Votes() })
}

// Contact is the person to call at a site, "" if none is named.
func (f *Fleet) Contact(site string) string {
	return cmp.Or(f.Sites[site].Contact, f.Cluster.Contact)
}

// ShowsPage says whether a node has a page on its LAN. On a node that runs Headscale,
// Headscale uses the page's port.
func (f *Fleet) ShowsPage(n Node) bool {
	return f.Sites[n.Site].Page != node.PageOff && !n.Role.Controls()
}

// ImagesFor are the container images that a node's disk image carries besides its board's. A
// node that runs Headscale runs no pods.
func (f *Fleet) ImagesFor(board string, controls bool) []string {
	if controls {
		return nil
	}
	return f.Images[board]
}

// OverlaysFor are the overlays of a node's disk image besides its board's.
func OverlaysFor(controls bool) []string {
	if controls {
		return []string{"headscale"}
	}
	return nil
}

// Find returns a node, or an error that names similar ones.
func (f *Fleet) Find(name string) (Node, error) {
	if n, ok := f.Nodes.Get(name); ok {
		return n, nil
	}
	return Node{}, &UnknownError{"node", name, f.Nodes.Names}
}
