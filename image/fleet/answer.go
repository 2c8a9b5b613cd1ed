package fleet

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/clusterca"
)

// Config returns the node.yaml of one node, with its secrets, but without the key for
// joining the tailnet: that key is minted when the card is written.
func (f *Fleet) Config(name string) (*node.Config, error) {
	return f.answer(name, f.read)
}

// reader returns the secret that a reference refers to.
type reader func(Ref) (secret.String, error)

func (f *Fleet) answer(name string, read reader) (*node.Config, error) {
	n, err := f.Find(name)
	if err != nil {
		return nil, err
	}
	site := f.Sites[n.Site]
	c := &node.Config{
		Version: node.Version, Node: name, Board: n.Board, Site: n.Site, Role: n.Role.In(),
		Timezone: site.Timezone, Page: site.Page, SSH: f.ssh(n), Firewall: n.Firewall, DataDisk: n.DataDisk, Install: n.Install, Longhorn: n.Longhorn, Storage: f.storageOf(name), OwnerKey: f.Cluster.OwnerKey, Headscale: node.Headscale{URL: f.Cluster.Headscale.URL},
	}
	if c.Headscale.CA, err = f.ca(read); err != nil {
		return nil, err
	}
	if n.Role.Controls() {
		if err := f.control(c, read); err != nil {
			return nil, err
		}
	}
	if n.Role.In() != node.Control {
		if c.K3s, err = f.k3s(name, n, read); err != nil {
			return nil, err
		}
	}
	if c.Files, err = files(n.Files, read); err != nil {
		return nil, err
	}
	c.Files = f.withMirrors(c.Role, c.Files)
	c.Network, err = site.Network.overlaid(n.Network).read(read)
	return c, err
}

// files resolves the content of files that are written onto the node.
func files(all []File, read reader) (out []node.File, err error) {
	for i, f := range all {
		if f.Content.Empty() {
			return nil, fmt.Errorf("files[%d].content: is missing: where the text of %s is", i, f.Path)
		}
		text, err := read(f.Content)
		if err != nil {
			return nil, fmt.Errorf("files[%d].content: %w", i, err)
		}
		out = append(out, node.File{Path: f.Path, Mode: f.Mode, Owner: f.Owner, Content: text + "\n"})
	}
	return out, nil
}

// control configures a node to run the fleet's Headscale. The owner reaches this node over
// the Internet before there is a tailnet, so ssh is open there, for those who have a key.
func (f *Fleet) control(c *node.Config, read reader) (err error) {
	s := f.Cluster.Headscale.Server
	c.Control = &node.ControlServer{ACME: s.ACME, Email: s.Email, Names: f.Applications()}
	cert, err := optional(s.Cert, read, "cluster.headscale.server.cert")
	if err != nil {
		return err
	}
	c.Control.Cert = cert.Reveal()
	if c.Control.Key, err = optional(s.Key, read, "cluster.headscale.server.key"); err != nil {
		return err
	}
	if c.Control.Backup, err = s.Backup.read(read); err != nil {
		return err
	}
	if c.SSH.HostKey, err = optional(s.HostKey, read, "cluster.headscale.server.hostKey"); err != nil {
		return err
	}
	login, err := optional(s.LoginKey, read, "cluster.headscale.server.loginKey")
	if err != nil || login.Empty() {
		return err
	}
	signer, err := parseSSHKey(s.LoginKey, "loginKey", login)
	if err != nil {
		return err
	}
	c.SSH.AuthorizedKeys = append(c.SSH.AuthorizedKeys, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))+" headscale-init")
	if slices.Contains(c.OpenToLAN(), "ssh") && !slices.Contains(c.Firewall.Public, "ssh") {
		c.Firewall.Public = append(slices.Clone(c.Firewall.Public), "ssh")
	}
	return nil
}

func (b Backup) read(read reader) (out node.Backup, err error) {
	out.Path = b.Path
	out.S3, err = b.S3.read(read, "cluster.headscale.server.backup.s3")
	return out, err
}

// read resolves a bucket's secret. It returns nil for nil.
func (s *S3) read(read reader, field string) (*node.S3, error) {
	if s == nil {
		return nil, nil
	}
	key, err := optional(s.SecretKey, read, field+".secretKey")
	return &node.S3{Endpoint: s.Endpoint, Region: s.Region, Bucket: s.Bucket, Prefix: s.Prefix, AccessKey: s.AccessKey, SecretKey: key}, err
}

// ssh collects the login keys of the cluster and the node, and whether logins from the LAN
// are allowed.
func (f *Fleet) ssh(n Node) node.SSH {
	all := f.Cluster.SSH
	out := node.SSH{AuthorizedKeys: slices.Concat(all.AuthorizedKeys, n.SSH.AuthorizedKeys), LAN: all.LAN}
	if n.SSH.LAN != nil {
		out.LAN = n.SSH.LAN
	}
	return out
}

func (f *Fleet) ca(read reader) (string, error) {
	s, err := optional(f.Cluster.Headscale.CA, read, "cluster.headscale.ca")
	return s.Reveal(), err
}

func optional(r Ref, read reader, field string) (secret.String, error) {
	if r.Empty() {
		return "", nil
	}
	s, err := read(r)
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	return s, nil
}

// Identity reads the cluster's certificate authorities. It returns nil if fleet.yaml has
// none, so that k3s makes its own.
func (f *Fleet) Identity() (clusterca.Files, error) {
	return f.identity(f.read)
}

// NewAgentToken makes a token for agents that pins the cluster's authorities, as the present
// token does. It fails if those authorities are not in fleet.yaml.
func (f *Fleet) NewAgentToken(random io.Reader) (secret.String, error) {
	id, err := f.Identity()
	if err != nil {
		return "", err
	}
	if id == nil {
		return "", errors.New("the cluster's authorities are not this fleet's (cluster: k3s: ca:): make a token by hand, as the old one with another text behind its last colon")
	}
	s, err := clusterca.NewSecret(random)
	if err != nil {
		return "", err
	}
	token, err := id.Token(clusterca.AgentToken, s)
	return secret.String(token), err
}

// VolumesBucket reads the bucket of Longhorn's backups, nil if there is none.
func (f *Fleet) VolumesBucket() (*node.S3, error) {
	if f.Cluster.Longhorn == nil {
		return nil, nil
	}
	return f.Cluster.Longhorn.Backup.read(f.read, "cluster.longhorn.backup")
}

// HeadscaleBucket reads the bucket for copies of Headscale's database, nil if no copies
// leave its machine.
func (f *Fleet) HeadscaleBucket() (*node.S3, error) {
	return f.Cluster.Headscale.Server.Backup.S3.read(f.read, "cluster.headscale.server.backup.s3")
}

func (f *Fleet) read(r Ref) (secret.String, error) { return r.read(f.dir) }

// identity reads the cluster's certificate authorities: a YAML mapping of k3s' file names to
// PEM texts.
func (f *Fleet) identity(read reader) (clusterca.Files, error) {
	text, err := optional(f.Cluster.K3s.CA, read, "cluster.k3s.ca")
	if err != nil || text.Empty() {
		return nil, err
	}
	var named map[string]string
	if err := yaml.Unmarshal([]byte(text.Reveal()), &named); err != nil {
		return nil, fmt.Errorf("cluster.k3s.ca: %s is not what \"fleet init\" made", f.Cluster.K3s.CA)
	}
	files := clusterca.Files{}
	for name, pem := range named {
		files[name] = []byte(pem)
	}
	if err := files.Check(time.Now()); err != nil {
		return nil, fmt.Errorf("cluster.k3s.ca: %w", err)
	}
	return files, nil
}

// overlaid returns the site's network with the node's own settings in place of the site's.
func (n Network) overlaid(own Network) Network {
	if len(own.Interfaces) > 0 {
		n.Interfaces = own.Interfaces
	}
	if own.WiFi != nil {
		n.WiFi = own.WiFi
	}
	if len(own.NTP) > 0 {
		n.NTP = own.NTP
	}
	if !own.Proxy.Empty() { // the site's exceptions do not apply to another proxy
		n.Proxy, n.NoProxy = own.Proxy, nil
	}
	if len(own.NoProxy) > 0 {
		n.NoProxy = own.NoProxy
	}
	return n
}

func (n Network) read(read reader) (node.Network, error) {
	out := node.Network{Interfaces: n.Interfaces, NTP: n.NTP, NoProxy: n.NoProxy}
	var err error
	if out.Proxy, err = optional(n.Proxy, read, "network.proxy"); err != nil || n.WiFi == nil {
		return out, err
	}
	out.WiFi = &node.WiFi{SSID: n.WiFi.SSID, Country: n.WiFi.Country}
	out.WiFi.PSK, err = optional(n.WiFi.PSK, read, "network.wifi.psk")
	return out, err
}
