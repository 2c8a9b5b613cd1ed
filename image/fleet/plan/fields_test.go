package plan

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/sshkey"
	"github.com/going-mobile/imagebuilder/image/clusterca"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/objects"
	"github.com/going-mobile/imagebuilder/overlays"
)

// everyRole is a fleet with a node of each role; the last may also run Headscale.
const everyRole = `version: 1
cluster:
  name: shed
  headscale: {url: 'https://hs.shed.example.net', apiKey: {env: ANY}, server: {hostKey: {env: SSH_KEY}, loginKey: {env: SSH_KEY}}}
  k3s: {token: {env: ANY}, agentToken: {env: ANY}}
  longhorn: {}
sites: {home: {}, cabin: {}, cloud: {}}
nodes:
  home-pi: {machine: {cpus: 2, memoryGiB: 8}, board: rpi4, site: home, role: server}
  cabin-pi: {machine: {cpus: 2, memoryGiB: 8}, board: rpi4, site: cabin, role: server}
  home-box: {machine: {cpus: 2, memoryGiB: 8}, board: generic-amd64, site: home, role: agent}
  cabin-box: {machine: {cpus: 2, memoryGiB: 8}, board: generic-amd64, site: cabin, role: agent}
  tie: {board: generic-amd64, site: cabin, role: witness}
  vps: {board: generic-amd64, site: cloud, role: ROLE}
`

// samples are values that differ from the defaults, by type and field. A field has several
// if its struct's fields exclude each other.
var samples = map[string][]string{
	"Fleet.version":  {"1"},
	"Fleet.boards":   {"mine"},
	"Fleet.overlays": {"ours"},
	"Fleet.images":   {"{rpi4: ['registry.k8s.io/pause:3.10']}"},

	"Cluster.name":     {"barn"},
	"Cluster.ownerKey": {"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"},
	"Cluster.contact":  {"Ada"},
	"Cluster.ssh":      {"{authorizedKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me], lan: false}"},
	"Cluster.storage":  {"{encrypt: true}"},
	"Cluster.names":    {"{domain: apps.example.net, hosts: [code]}"},
	"Cluster.secrets":  {"[{namespace: apps, name: db, data: {password: {env: ANY}}}]"},
	"Cluster.gitops":   {"{repo: 'ssh://git@git.example.net/x.git', path: apps, revision: dev, deployKey: {env: ANY}, knownHosts: {env: ANY}}"},
	"Cluster.longhorn": {"{replicas: 1, backup: " + allOfS3 + "}"},
	"Cluster.k3s":      {"{token: {env: OTHER}, agentToken: {env: OTHER}, ca: {env: CA}, init: cabin-pi, config: {kubelet-arg: x}, workOnServers: true, shareImages: true, backup: " + allOfS3 + "}"},
	"Cluster.headscale": {
		"{url: 'https://hs.barn.example.net', apiKey: {env: OTHER}, user: us, keyExpiry: 2d, ca: {env: CERT}, server: {hostKey: {env: SSH_KEY}, loginKey: {env: SSH_KEY}, acme: 'https://ca.example.net/dir', email: a@example.net, backup: {path: /var/b, s3: " + allOfS3 + "}}}",
		"{url: 'https://hs.barn.example.net', apiKey: {env: OTHER}, ca: {env: CERT}, server: {hostKey: {env: SSH_KEY}, loginKey: {env: SSH_KEY}, cert: {env: CERT}, key: {env: ANY}}}",
	},

	"Site.timezone": {"Europe/Lisbon"},
	"Site.network":  {allOfNetwork},
	"Site.page":     {"'off'"},
	"Site.lan":      {"[192.168.1.0/24]"},
	"Site.contact":  {"Bob"},

	"Node.labels":   {"{rack: left}"},
	"Node.taints":   {"['work=no:NoSchedule']"},
	"Node.network":  {allOfNetwork},
	"Node.ssh":      {"{authorizedKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me], lan: false}"},
	"Node.firewall": {"{lan: [https], public: [https]}"},
	"Node.k3s":      {"{config: {kubelet-arg: y}}"},
	"Node.dataDisk": {"{model: 'T7*'}"},
	"Node.install":  {"{disk: {model: 'Sam*', size: 500GB}, wipe: true, replaceData: true}", "{disk: {serial: S1}}", "{disk: {only: true}}"},
	"Node.longhorn": {"{disk: {model: 'WD*'}}"},
	"Node.storage":  {"{encrypt: true}"},
	"Node.machine":  {"{cpus: 4, memoryGiB: 16, diskGiB: 128}"},
	"Node.files":    {"[{path: /etc/sysctl.d/x.conf, mode: '0640', owner: '1:2', content: {env: ANY}}]"},
	"Node.board":    {"optiplex-7050"}, "Node.site": {"home"}, "Node.role": {"agent"},
}

const (
	allOfS3      = "{endpoint: 'https://s3.example.net', region: eu, bucket: b, prefix: p/, accessKey: A, secretKey: {env: ANY}}"
	allOfNetwork = "{interfaces: [{name: eth0, vlan: 7, addresses: [192.168.1.2/24], gateway: 192.168.1.1, dns: [192.168.1.1]}], wifi: {ssid: w, psk: {env: ANY}, country: PT}, ntp: [ntp.example.net], proxy: {env: PROXY}, noProxy: [nas.example.net]}"
)

// unheeded are fields that have no effect in some place, but are allowed there.
var unheeded = map[string]string{
	"Cluster.headscale.server.hostKey":  "made by fleet init, for a VPS to come",
	"Cluster.headscale.server.loginKey": "made by fleet init, for a VPS to come",
	"Node.machine.cpus":                 "of a node that does no work",
	"Node.machine.memoryGiB":            "of a node that does no work",
	"Node.machine.diskGiB":              "of a node that keeps no volumes",
}

// TestEveryFieldCounts: each field of fleet.yaml, on each kind of node, either changes what
// a node or the owner gets, or is refused. No field is accepted and then ignored.
func TestEveryFieldCounts(t *testing.T) {
	secrets(t)
	w := &walk{t: t, dir: t.TempDir(), met: map[string]bool{}, counts: map[string]bool{}}
	w.ownFiles()
	for i, role := range []string{"control", "[control, witness]", "witness"} {
		w.base = strings.Replace(everyRole, "ROLE", role, 1)
		w.place(reflect.TypeFor[fleet.Cluster](), "cluster")
		w.place(reflect.TypeFor[fleet.Node](), "nodes", "vps")
		if i > 0 {
			continue
		}
		w.place(reflect.TypeFor[fleet.Fleet]())
		for _, site := range []string{"home", "cloud"} {
			w.place(reflect.TypeFor[fleet.Site](), "sites", site)
		}
		for _, name := range []string{"home-pi", "cabin-pi", "home-box", "tie"} {
			w.place(reflect.TypeFor[fleet.Node](), "nodes", name)
		}
	}
	for name := range w.met {
		if !w.counts[name] {
			t.Errorf("%s counts nowhere: its sample is no good one, or nobody reads it", name)
		}
	}
}

// secrets are what a fleet refers to.
func secrets(t *testing.T) {
	id, err := clusterca.New("shed", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name, text := range id.Servers {
		files[name] = string(text)
	}
	bundle, err := yaml.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	key, err := sshkey.NewEd25519(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"ANY": "correct horse", "OTHER": "battery staple", "PROXY": "http://proxy.example.net:3128", "CA": string(bundle), "CERT": string(id.Root.Cert), "SSH_KEY": string(key)} {
		t.Setenv(name, text)
	}
}

// walk visits all fields of a fleet file.
type walk struct {
	t           *testing.T
	dir, base   string
	met, counts map[string]bool
}

// place tries the samples of a type's fields in one place of the file.
func (w *walk) place(of reflect.Type, at ...string) {
	for i := range of.NumField() {
		f := of.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || f.Type == reflect.TypeFor[fleet.Cluster]() || f.Type == reflect.TypeFor[fleet.Nodes]() || f.Type == reflect.TypeFor[map[string]fleet.Site]() {
			continue
		}
		named := of.Name() + "." + name
		covered := map[string]bool{}
		for _, sample := range samples[named] {
			var value yaml.Node
			if err := yaml.Unmarshal([]byte(sample), &value); err != nil {
				w.t.Fatalf("%s: %v", named, err)
			}
			for _, leaf := range leaves(f.Type, value.Content[0]) {
				covered[typed(named, leaf)] = true
				w.leaf(named, at, name, value.Content[0], leaf)
			}
		}
		for _, leaf := range leaves(f.Type, nil) {
			if !covered[typed(named, leaf)] {
				w.t.Errorf("%s has no sample", typed(named, leaf))
			}
		}
	}
}

// leaf compares a fleet that has a field with one that has not. If the sample without the
// field is no valid fleet, the whole sample is left out.
func (w *walk) leaf(named string, at []string, field string, sample *yaml.Node, leaf []string) {
	name, path := typed(named, leaf), slices.Concat(at, []string{field}, leaf)
	w.met[name] = true
	with, without := w.doc(), w.doc()
	put(with, slices.Concat(at, []string{field}), sample)
	put(without, slices.Concat(at, []string{field}), sample)
	put(without, path, nil)
	a := w.see(with)
	if a.fleet == nil {
		with, without = w.doc(), w.doc()
		put(with, path, get(sample, leaf))
		put(without, path, nil)
		if a = w.see(with); a.fleet == nil {
			return
		}
	}
	b := w.see(without)
	switch same := b.fleet != nil && a.answers == b.answers && w.plan(a.fleet) == w.plan(b.fleet); {
	case !same:
		w.counts[name] = true
	case unheeded[name] == "":
		w.t.Errorf("%s (%s) is taken, and changes nothing in:\n%s", strings.Join(path, "."), name, w.text(with))
	}
}

func typed(field string, leaf []string) string {
	return strings.Join(append([]string{field}, slices.DeleteFunc(slices.Clone(leaf), func(s string) bool { return s == "0" })...), ".")
}

var unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()

// leaves are the paths to the innermost fields of a type: all, or only those that a document
// has.
func leaves(t reflect.Type, n *yaml.Node) (all [][]string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	below := func(key string, t reflect.Type, n *yaml.Node) {
		for _, leaf := range leaves(t, n) {
			all = append(all, append([]string{key}, leaf...))
		}
	}
	switch {
	case reflect.PointerTo(t).Implements(unmarshaler):
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && n == nil:
		below("0", t.Elem(), nil)
		return all
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		below("0", t.Elem(), n.Content[0])
		return all
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if n == nil {
				below(name, t.Field(i).Type, nil)
			} else if value := get(n, []string{name}); value != nil {
				below(name, t.Field(i).Type, value)
			}
		}
		return all
	}
	return [][]string{nil}
}

// get finds the value at a path, nil if there is none.
func get(n *yaml.Node, path []string) *yaml.Node {
	if len(path) == 0 {
		return n
	}
	if n.Kind == yaml.SequenceNode {
		return get(n.Content[0], path[1:])
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == path[0] {
			return get(n.Content[i+1], path[1:])
		}
	}
	return nil
}

// put sets the value at a path, which it creates; nil removes it.
func put(n *yaml.Node, path []string, value *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		put(n.Content[0], path[1:], value)
		return
	}
	at := 0
	for at < len(n.Content) && n.Content[at].Value != path[0] {
		at += 2
	}
	switch missing := at == len(n.Content); {
	case missing && value == nil:
		return
	case len(path) == 1 && value == nil:
		n.Content = slices.Delete(n.Content, at, at+2)
		return
	case missing:
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: path[0]}, &yaml.Node{Kind: yaml.MappingNode})
		if len(path) > 1 && path[1] == "0" {
			n.Content[at+1] = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
		}
	}
	if len(path) > 1 {
		put(n.Content[at+1], path[1:], value)
		return
	}
	n.Content[at+1] = clone(value)
}

// clone copies a node, so that a change to one document does not affect another.
func clone(n *yaml.Node) *yaml.Node {
	out := *n
	out.Content = nil
	for _, c := range n.Content {
		out.Content = append(out.Content, clone(c))
	}
	return &out
}

// ownFiles makes the directories that the samples of boards and overlays name, with another
// rpi4 and another light.
func (w *walk) ownFiles() {
	text, err := boards.FS.ReadFile("rpi4.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	board, light := filepath.Join(w.dir, "mine"), filepath.Join(w.dir, "ours", "light")
	if err := errors.Join(os.MkdirAll(board, 0o700), os.WriteFile(filepath.Join(board, "rpi4.yaml"), bytes.Replace(text, []byte("title: "), []byte("title: My "), 1), 0o600),
		os.MkdirAll(light, 0o700), os.WriteFile(filepath.Join(light, "overlay.yaml"), []byte("version: 1\ndescription: x\nimages: ['registry.k8s.io/pause:3.9']\n"), 0o600)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *walk) doc() *yaml.Node {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(w.base), &doc); err != nil {
		w.t.Fatal(err)
	}
	return doc.Content[0]
}

func (w *walk) text(doc *yaml.Node) []byte {
	text, err := yaml.Marshal(doc)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// sight is a fleet, and what its nodes and owner get; zero if the fleet is refused.
type sight struct {
	fleet   *fleet.Fleet
	answers string
}

func (w *walk) see(doc *yaml.Node) (s sight) {
	f, err := fleet.Load(filepath.Join(w.dir, fleet.FileName), w.text(doc), boards.FS)
	if err != nil {
		return s
	}
	var out strings.Builder
	for _, name := range f.Nodes.Names {
		c, err := f.Config(name)
		if err != nil {
			return s
		}
		text, err := node.Marshal(c)
		if err != nil {
			w.t.Fatal(err)
		}
		n, _ := f.Nodes.Get(name)
		b, err := f.Board(n.Board)
		if err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintln(&out, string(text), b.Title, n.Tags(), f.ShowsPage(n), f.Contact(n.Site), f.ImagesFor(n.Board, n.Role.Controls()), f.ComponentsFor(n.Board, n.Role.Controls()))
	}
	policy, err := f.Policy()
	if err != nil {
		w.t.Fatal(err)
	}
	api, _ := f.APIKey()
	domain, _ := f.Domain()
	bucket, _ := f.VolumesBucket()
	fmt.Fprintln(&out, string(policy), api.Reveal(), domain, bucket)
	return sight{f, out.String()}
}

// plan is what the owner is told.
func (w *walk) plan(f *fleet.Fleet) string {
	p, err := Make(f, overlays.FS)
	if err != nil {
		w.t.Fatal(err)
	}
	r, lacks := MakeResources(f, nil, []objects.Claim{{Name: "a/b", Size: 100 << 30}})
	text, err := json.Marshal([]any{p, r, lacks != nil})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}
