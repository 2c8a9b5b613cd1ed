package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/sshkey"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/owner"
)

// Rehearsal says how to copy a fleet in order to try it on emulated machines.
type Rehearsal struct {
	// Boards are the boards of the emulated machines, by the names of their nodes. A node
	// that is not listed keeps its board.
	Boards map[string]string
}

// Files of a rehearsal, besides what Init makes.
const (
	apiKeyFile = "headscale.key"
	webCAFile  = "headscale-ca.crt"
	webFile    = "headscale.crt"
	webKeyFile = "headscale-tls.key"
	anySecret  = "any.secret" // stands for each of cluster: secrets
)

// noRepo is the Git repository of a copy. Argo CD must not follow the real repository, which
// means the real cluster. A name below .invalid never resolves (RFC 6761).
const noRepo = "https://git.invalid/rehearsed.git"

// Rehearse writes a copy of a fleet into dir, which must not contain a fleet yet, and loads
// the copy. data is the content of the fleet file called name. The copy has its own secrets:
// nothing in it gives access to the real cluster or its Headscale's API. What depends on
// real hardware and places is left out: network settings, disks, files, logins, and the k3s
// flags for a data store or a bucket. The initial content of the cluster stays, except
// backups; its Git repository is replaced by one that does not exist.
func (r Rehearsal) Rehearse(name string, data []byte, dir string, now time.Time, random io.Reader) (*Fleet, error) {
	of, err := Load(name, data, nil)
	if err != nil {
		return nil, err
	}
	secrets, err := InitOptions{Name: of.Cluster.Name}.secrets(now, random)
	if err != nil {
		return nil, err
	}
	pair, err := owner.NewPair("")
	if err != nil {
		return nil, err
	}
	secrets[ownerKeyFile] = append(pair.Secret, '\n')
	if secrets[anySecret], err = newPassword(random); err != nil {
		return nil, err
	}
	address := rehearsedURL(of.Cluster.Headscale.URL)
	if secrets[webCAFile], secrets[webFile], secrets[webKeyFile], err = webCertificate(address.Hostname(), now, random); err != nil {
		return nil, err
	}
	login, err := sshkey.Public(secrets[controlFiles["loginKey"]])
	if err != nil {
		return nil, err
	}
	text, err := r.text(data, of, address.String(), pair.Key, strings.TrimSpace(string(login)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := (InitOptions{}).writeSecrets(dir, secrets); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, FileName)
	if err := atomicfile.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	return LoadFile(file, nil)
}

// rehearsedURL is the address of the copy's Headscale: the real one, or ExampleHeadscale if
// our own Headscale could not have that address.
func rehearsedURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err == nil && u.Scheme == "https" {
		if _, err := netip.ParseAddr(u.Hostname()); err != nil {
			return u
		}
	}
	u, _ = url.Parse(ExampleHeadscale) // a constant
	return u
}

// text replaces what must differ in the copy.
func (r Rehearsal) text(data []byte, of *Fleet, address, ownerKey, login string) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	root := doc.Content[0]
	cluster := mapping(root, "cluster")
	hs, k3s := mapping(cluster, "headscale"), mapping(cluster, "k3s")
	set(hs, "url", scalar(address))
	set(hs, "apiKey", secretFile(apiKeyFile))
	set(hs, "ca", secretFile(webCAFile))
	set(hs, "server", flow("cert", secretFile(webFile), "key", secretFile(webKeyFile),
		"hostKey", secretFile(controlFiles["hostKey"]), "loginKey", secretFile(controlFiles["loginKey"])))
	for field, name := range map[string]string{"token": "server.token", "agentToken": "agent.token", "ca": "cluster-ca.yaml"} {
		set(k3s, field, secretFile(name))
	}
	dropKeys(k3s)
	drop(k3s, "backup")
	if at := find(cluster, "gitops"); at >= 0 {
		git := cluster.Content[at+1]
		drop(git, "deployKey", "knownHosts")
		set(git, "repo", scalar(noRepo))
	}
	if at := find(cluster, "secrets"); at >= 0 {
		rehearseSecrets(cluster.Content[at+1])
	}
	if at := find(cluster, "longhorn"); at >= 0 {
		drop(cluster.Content[at+1], "backup")
	}
	set(cluster, "ownerKey", scalar(ownerKey))
	drop(root, "boards", "overlays") // Images are of the lab's choosing, and the paths are relative to the real file
	set(cluster, "ssh", flow("authorizedKeys", list(scalar(login))))
	for _, site := range values(mapping(root, "sites")) {
		drop(site, "network")
	}
	nodes := mapping(root, "nodes")
	for i := 0; i+1 < len(nodes.Content); i += 2 {
		n := nodes.Content[i+1]
		drop(n, "network", "ssh", "dataDisk", "install", "longhorn", "files")
		if own := find(n, "k3s"); own >= 0 {
			dropKeys(n.Content[own+1])
		}
		if board := r.Boards[nodes.Content[i].Value]; board != "" {
			set(n, "board", scalar(board))
		}
	}
	if err := r.addControl(root, of); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	err := enc.Encode(&doc)
	return b.Bytes(), err
}

// rehearseSecrets keeps the names and keys of the Secrets, and replaces their values.
func rehearseSecrets(all *yaml.Node) {
	for _, s := range all.Content {
		data := mapping(s, "data")
		for i := 1; i < len(data.Content); i += 2 {
			data.Content[i] = secretFile(anySecret)
		}
	}
}

// dropKeys removes from k3s: config: the flags that give access to something outside of the
// cluster, and the flags that depend on them.
func dropKeys(k3s *yaml.Node) {
	at := find(k3s, "config")
	if at < 0 {
		return
	}
	flags := k3s.Content[at+1]
	for i := len(flags.Content) - 2; i >= 0; i -= 2 {
		if name := flags.Content[i].Value; strings.HasPrefix(name, "etcd-s3") || strings.HasPrefix(name, "datastore-") || secretFlag.MatchString(name) {
			drop(flags, name)
		}
	}
}

// RehearsedControl is the name of the node, and of its site, that a copy gets if somebody
// else runs the real Headscale.
const RehearsedControl = "lab-headscale"

func (r Rehearsal) addControl(root *yaml.Node, of *Fleet) error {
	if of.Control() != "" {
		return nil
	}
	if _, taken := of.Nodes.Get(RehearsedControl); taken || r.Boards[RehearsedControl] == "" {
		return errors.New("no node has role control, and none can be added")
	}
	set(mapping(root, "sites"), RehearsedControl, flow())
	set(mapping(root, "nodes"), RehearsedControl, flow("board", scalar(r.Boards[RehearsedControl]), "site", scalar(RehearsedControl), "role", scalar(string(node.Control))))
	return nil
}

func scalar(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func list(items ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Content: items}
}

func secretFile(name string) *yaml.Node { return flow("file", scalar(SecretsDir+"/"+name)) }

// flow is a one-line mapping; pairs are alternating names and values.
func flow(pairs ...any) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	for i := 0; i+1 < len(pairs); i += 2 {
		m.Content = append(m.Content, scalar(pairs[i].(string)), pairs[i+1].(*yaml.Node))
	}
	return m
}

// find is the index of a name in a mapping, -1 if it is not there.
func find(m *yaml.Node, name string) int {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			return i
		}
	}
	return -1
}

// mapping returns the mapping called name in m, and adds one if there is none.
func mapping(m *yaml.Node, name string) *yaml.Node {
	if i := find(m, name); i >= 0 && m.Content[i+1].Kind == yaml.MappingNode {
		return m.Content[i+1]
	}
	set(m, name, &yaml.Node{Kind: yaml.MappingNode})
	return m.Content[find(m, name)+1]
}

func values(m *yaml.Node) (out []*yaml.Node) {
	for i := 1; i < len(m.Content); i += 2 {
		out = append(out, m.Content[i])
	}
	return out
}

func set(m *yaml.Node, name string, value *yaml.Node) {
	if i := find(m, name); i >= 0 {
		m.Content[i+1] = value
		return
	}
	m.Content = append(m.Content, scalar(name), value)
}

func drop(m *yaml.Node, names ...string) {
	for _, name := range names {
		if i := find(m, name); i >= 0 {
			m.Content = slices.Delete(m.Content, i, i+2)
		}
	}
}
