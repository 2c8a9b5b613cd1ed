// Package fleet is the fleet as its owner has it at home: fleet.yaml, which describes one
// cluster, its sites and its nodes, and the secrets beside it. Of these it makes one flat
// node.yaml for each node, Headscale's policy, and a copy of the fleet for trials. Init makes
// them for a new fleet, with its authorities, tokens and keys.
//
// All precedence is resolved here: a node's own setting, then its site's, then the
// cluster's. fleet.yaml contains references to secrets, never the secrets themselves; they
// are read only when something that needs them is made.
//
// The package refuses a file from which no node could be made, with line, field and the
// nearest known name. It asks Headscale for no node's key (package mint does), builds no images
// and talks to no server.
package fleet

import (
	"cmp"
	"fmt"
	"io/fs"
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
	// Version is that of this schema: 1.
	Version int `yaml:"version"`
	// Cluster has the settings that all nodes share.
	Cluster Cluster `yaml:"cluster"`
	// Sites are the places where nodes are, each with a network of its own, by short names.
	Sites map[string]Site `yaml:"sites"`
	// Nodes are the machines by host name. The first server creates the cluster unless k3s.init
	// names another.
	Nodes Nodes `yaml:"nodes"`
	// Boards is a directory with board files of your own, relative to this file. They come before
	// those of imagebuilder.
	Boards string `yaml:"boards"`
	// Overlays is a directory with overlays of your own, relative to this file. They come before
	// those of imagebuilder.
	Overlays string `yaml:"overlays"`
	// Images are container images that the nodes of a board have without a registry, by board;
	// in addition to those of the board itself.
	Images map[string][]string `yaml:"images"`

	file    string // for errors
	dir     string // references to files are relative to it
	builtin fs.FS  // the boards that come with imagebuilder
}

// Cluster is what all nodes share.
type Cluster struct {
	// Name of the cluster, a DNS label. Its certificates and the kubeconfig's context bear it.
	Name string `yaml:"name"`
	// Headscale is the server of the tailnet that all nodes join.
	Headscale Headscale `yaml:"headscale"`
	// K3s has the cluster's tokens, certificate authorities and settings.
	K3s K3s `yaml:"k3s"`
	// Longhorn makes it the cluster's storage. Left out, volumes are on the node of their pod
	// (k3s' local-path).
	Longhorn *Longhorn `yaml:"longhorn"`
	// Storage says how nodes store their data, unless a node has its own setting.
	Storage Storage `yaml:"storage"`
	// GitOps installs Argo CD, which applies a Git repository. Left out, there is no Argo CD.
	GitOps *GitOps `yaml:"gitops"`
	// Secrets are created in the new cluster, for manifests in Git that refer to them.
	Secrets []Secret `yaml:"secrets"`
	// Names are names of applications in the tailnet. Left out, only nodes have names there.
	Names Names `yaml:"names"`
	// SSH says who may log in to all nodes.
	SSH SSH `yaml:"ssh"`
	// OwnerKey is the minisign public key with which nodes verify updates and changes of
	// node.yaml.
	OwnerKey string `yaml:"ownerKey"`
	// Contact is whom a helper calls; it is printed on the label of a box.
	Contact string `yaml:"contact"`
}

// Headscale is the server that all nodes join, and how keys are minted there.
type Headscale struct {
	// URL of the server, such as https://headscale.example.net.
	URL string `yaml:"url"`
	// APIKey is the owner's key for the server's API. No node gets it.
	APIKey Ref `yaml:"apiKey"`
	// User of Headscale that owns the keys; only its devices may reach nodes; default "fleet".
	User string `yaml:"user"`
	// KeyExpiry is how long the key on a card is valid, and so how long the card may be on its
	// way; default 14d.
	KeyExpiry Duration `yaml:"keyExpiry"`
	// CA are PEM certificates that are trusted in addition to the system's.
	CA Ref `yaml:"ca"`
	// Server configures the node with role control, which runs this Headscale.
	Server Server `yaml:"server"`
}

// Server is the fleet's own Headscale. Without Cert it asks Let's Encrypt for a
// certificate.
type Server struct {
	// ACME is the directory URL of another certificate authority than Let's Encrypt, such as
	// one of your own, or Let's Encrypt's staging. Its root certificate goes into ca.
	ACME string `yaml:"acme"`
	// Email is the contact for the certificate authority; optional.
	Email string `yaml:"email"`
	// Cert is a certificate followed by its intermediate certificates, PEM.
	Cert Ref `yaml:"cert"`
	// Key is the private key of cert.
	Key Ref `yaml:"key"`
	// HostKey is the machine's ssh host key, made in advance so that the first login can verify
	// it: ed25519, in OpenSSH's format.
	HostKey Ref `yaml:"hostKey"`
	// LoginKey is the ssh key that "headscale init" logs in with: ed25519, in OpenSSH's format.
	LoginKey Ref `yaml:"loginKey"`
	// Backup says where the hourly copies of its database and keys go.
	Backup Backup `yaml:"backup"`
}

// K3s is the cluster's own identity and settings.
type K3s struct {
	// Init names the server that creates the cluster; default the first one under nodes.
	Init string `yaml:"init"`
	// Token is the token that servers join with. It gives access to everything.
	Token Ref `yaml:"token"`
	// AgentToken is the token that agents join with; servers cannot join with it.
	AgentToken Ref `yaml:"agentToken"`
	// CA has the cluster's certificate authorities, as "fleet init" makes them. Only the server
	// that creates the cluster gets them.
	CA Ref `yaml:"ca"`
	// Config has k3s flags for servers and witnesses, by their long names without dashes in
	// front.
	Config map[string]any `yaml:"config"`
	// WorkOnServers lets ordinary pods run on servers even if there are agents; default false.
	WorkOnServers bool `yaml:"workOnServers"`
	// ShareImages lets nodes get container images from each other before they ask a registry.
	ShareImages bool `yaml:"shareImages"`
	// Backup is the bucket for snapshots of etcd, taken twice a day unless config has
	// etcd-snapshot-schedule-cron. It keeps 28 of each server, or more if config's
	// etcd-snapshot-retention is higher, in a folder of this cluster below prefix, which
	// defaults to the fleet's name.
	Backup *S3 `yaml:"backup"`
}

// Longhorn is storage over the nodes with role agent.
type Longhorn struct {
	// Replicas of each volume, each at another site, or on another agent if all agents are at
	// one site; default 2 if there are two places for them, else 1.
	Replicas int `yaml:"replicas"`
	// Backup is the bucket for the nightly backups of volumes.
	Backup *S3 `yaml:"backup"`
}

// GitOps is a Git repository with what the cluster shall run.
type GitOps struct {
	// Repo is the URL of the repository, such as ssh://git@git.example.net/home/cluster.git.
	Repo string `yaml:"repo"`
	// Path of the directory in the repository whose manifests are applied; default the whole
	// repository.
	Path string `yaml:"path"`
	// Revision is the branch, tag or commit to follow; default main.
	Revision string `yaml:"revision"`
	// DeployKey is an ssh private key that may read the repository.
	DeployKey Ref `yaml:"deployKey"`
	// KnownHosts are the Git server's host keys, as in ssh's known_hosts. Those of GitHub,
	// GitLab, Bitbucket and Azure are built in.
	KnownHosts Ref `yaml:"knownHosts"`
}

// Secret is a Secret object of Kubernetes with its values by reference.
type Secret struct {
	// Namespace of the Secret; created if it does not exist.
	Namespace string `yaml:"namespace"`
	// Name of the Secret in its namespace.
	Name string `yaml:"name"`
	// Data are the values by their keys. A line break at the end of a value is cut off.
	Data map[string]Ref `yaml:"data"`
}

// Site is a place with one network.
type Site struct {
	// Timezone is a name in the tz database, such as Europe/Lisbon; default Etc/UTC.
	Timezone string `yaml:"timezone"`
	// Network configures the nodes of the site; needed if DHCP on every wired port is not
	// enough.
	Network Network `yaml:"network"`
	// Page is "on" (the default) or "off": whether nodes that need help serve a web page on the
	// LAN.
	Page node.Page `yaml:"page"`
	// LAN are the networks of the site in CIDR notation. "plan" checks that they do not overlap
	// with the cluster's.
	LAN []string `yaml:"lan"`
	// Contact replaces the cluster's contact for this site.
	Contact string `yaml:"contact"`
}

// SSH is node.SSH without a host key, which is a secret, and one node's alone.
type SSH struct {
	// AuthorizedKeys are public keys that may log in as root, as lines "TYPE BASE64 [COMMENT]".
	AuthorizedKeys []string `yaml:"authorizedKeys"`
	// LAN allows logins from the private networks that the node is connected to; default true,
	// so that a node without its tailnet can be reached.
	LAN *bool `yaml:"lan"`
}

// Node is one machine.
type Node struct {
	// Board is the name of a board that comes with imagebuilder.
	Board string `yaml:"board"`
	// Site is one of the names under sites.
	Site string `yaml:"site"`
	// Role is server, agent, witness, control or [control, witness].
	Role Roles `yaml:"role"`
	// Labels of the node in Kubernetes, such as example.net/disk: ssd. Those of its site are
	// added automatically.
	Labels map[string]string `yaml:"labels"`
	// Taints of the node in Kubernetes, as KEY=VALUE:EFFECT.
	Taints []string `yaml:"taints"`
	// Network has settings that replace the site's, field by field.
	Network Network `yaml:"network"`
	// SSH has settings in addition to the cluster's.
	SSH SSH `yaml:"ssh"`
	// Firewall opens ports by the name of their service: http, https, ssh.
	Firewall node.Firewall `yaml:"firewall"`
	// K3s has settings for this node, which take precedence over the cluster's.
	K3s NodeK3s `yaml:"k3s"`
	// DataDisk is a whole disk for /var, by its name below /dev/disk/by-id or by model and
	// size. Left out, /var is on the boot disk.
	DataDisk node.Disk `yaml:"dataDisk"`
	// Install makes the node's card an installation stick, which copies its system onto a disk
	// of the computer; for boards with UEFI or BIOS.
	Install *node.Install `yaml:"install"`
	// Longhorn says where the node keeps replicas of volumes.
	Longhorn node.Longhorn `yaml:"longhorn"`
	// Storage replaces the cluster's setting.
	Storage Storage `yaml:"storage"`
	// Machine is the size of the machine, for "plan" only.
	Machine Machine `yaml:"machine"`
	// Files are additional files that are written onto the node.
	Files []File `yaml:"files"`
}

// Machine is what work has room on.
type Machine struct {
	// CPUs is the number of hardware threads.
	CPUs int `yaml:"cpus"`
	// MemoryGiB is the size of its memory.
	MemoryGiB int `yaml:"memoryGiB"`
	// DiskGiB is the size of the disk or partition with its volumes; 0 means unknown.
	DiskGiB int `yaml:"diskGiB"`
}

// NodeK3s is what one node of the cluster has for itself.
type NodeK3s struct {
	// Config has k3s flags by their long names without dashes in front.
	Config map[string]any `yaml:"config"`
}

// File is node.File with its content by reference.
type File struct {
	// Path of the file on the node.
	Path string `yaml:"path"`
	// Mode is the file mode in octal; default 0600, or 0644 below /etc/systemd.
	Mode node.Mode `yaml:"mode"`
	// Owner is "root" (the default) or "UID:GID" in decimal.
	Owner string `yaml:"owner"`
	// Content is the file's text. The node's file ends with exactly one line break.
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

// LoadFile reads, checks and completes a fleet file. builtin has the boards that nodes may have
// beside the fleet's own; nil skips that check.
func LoadFile(name string, builtin fs.FS) (*Fleet, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Load(name, data, builtin)
}

// Load is LoadFile for data that was read already.
func Load(name string, data []byte, builtin fs.FS) (*Fleet, error) {
	doc, err := strictyaml.Parse(name, data)
	if err != nil {
		return nil, err
	}
	f := Fleet{file: name, dir: filepath.Dir(name), builtin: builtin}
	if err := doc.Decode(&f); err != nil {
		return nil, err
	}
	f.setDefaults()
	if err := validate(doc, &f); err != nil {
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

// Find returns a node, or an error that names similar ones.
func (f *Fleet) Find(name string) (Node, error) {
	if n, ok := f.Nodes.Get(name); ok {
		return n, nil
	}
	return Node{}, &UnknownError{"node", name, f.Nodes.Names}
}
