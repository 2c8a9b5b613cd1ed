package kubeconfig

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/image/clusterca"
)

var access = Access{Cluster: "shed", Servers: []Server{{"home-pi", "https://home-pi:6443"}, {"cabin-pi", "https://cabin-pi:6443"}},
	CA: []byte("ca"), Admin: clusterca.Pair{Cert: []byte("cert"), Key: []byte("key")}}

// names lists the entries of a file, and the addresses of its clusters.
func names(t *testing.T, text []byte) string {
	t.Helper()
	var f struct {
		Clusters []struct {
			Name    string
			Cluster struct{ Server string }
		}
		Contexts, Users []struct{ Name string }
		Current         string `yaml:"current-context"`
	}
	if err := yaml.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range f.Clusters {
		out = append(out, c.Name+"="+c.Cluster.Server)
	}
	for _, c := range append(f.Contexts, f.Users...) {
		out = append(out, c.Name)
	}
	return strings.Join(append(out, f.Current), " ")
}

func merge(have string) ([]byte, error) {
	_, text, err := Join([]File{{"config", true, []byte(have)}}, access)
	return text, err
}

const other = `apiVersion: v1
kind: Config
clusters: [{name: other, cluster: {server: "https://other:6443", tls-server-name: x}}]
contexts: [{name: other, context: {cluster: other, user: other}}]
users: [{name: other, user: {token: t}}]
current-context: other
preferences: {colors: true}
`

func TestMerge(t *testing.T) {
	fresh, err := New(access)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, fresh), "shed=https://home-pi:6443 shed-cabin-pi=https://cabin-pi:6443 shed shed-cabin-pi shed shed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	joined, err := merge(other)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, joined), "other=https://other:6443 shed=https://home-pi:6443 shed-cabin-pi=https://cabin-pi:6443 other shed shed-cabin-pi other shed other"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, s := range []string{"tls-server-name: x", "colors: true", "token: t"} {
		if !strings.Contains(string(joined), s) {
			t.Errorf("%s is lost", s)
		}
	}
	again, err := merge(string(joined))
	if err != nil || string(again) != string(joined) {
		t.Errorf("a second time changes it: %v", err)
	}
}

// TestMergeDropsFormerServers: what was made for a server that the cluster no longer has
// goes, and the cluster's own context is selected in its place. What the owner has made
// stays, and what needs the former entries keeps them.
func TestMergeDropsFormerServers(t *testing.T) {
	before := access
	before.Servers = append(before.Servers[:2:2], Server{"old-pi", Address("old-pi")}, Server{"hut-pi", Address("hut-pi")})
	fresh, err := New(before)
	if err != nil {
		t.Fatal(err)
	}
	const mine = `{name: shed-tunnel, cluster: {server: "https://localhost:6443", certificate-authority-data: Y2E=}}`
	const others = `{name: shed-box, cluster: {server: "https://box:6443", certificate-authority-data: b3RoZXI=}}`
	text := strings.Replace(string(fresh), "clusters:", "clusters:\n    - "+mine+"\n    - "+others, 1)
	text = strings.Replace(text, "contexts:", "contexts:\n    - {name: mine, context: {cluster: shed-hut-pi, user: shed, namespace: web}}\n    - {name: dev, context: {cluster: shed, user: shed}}", 1)
	text = strings.Replace(text, "current-context: shed", "current-context: shed-old-pi", 1)
	joined, err := merge(text)
	if err != nil {
		t.Fatal(err)
	}
	want := "shed-tunnel=https://localhost:6443 shed-box=https://box:6443 shed=https://home-pi:6443 shed-cabin-pi=https://cabin-pi:6443 shed-hut-pi=https://hut-pi:6443 " +
		"mine dev shed shed-cabin-pi shed-hut-pi shed shed"
	if got := names(t, joined); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	renamed := strings.Replace(string(fresh), "cluster: shed-old-pi", "cluster: shed", 1)
	if joined, err = merge(renamed); err != nil || !strings.Contains(names(t, joined), " shed-old-pi ") || strings.Contains(string(joined), "hut-pi") {
		t.Errorf("a context that leads elsewhere: %v\n%s", err, joined)
	}
	elsewhere := File{"first", true, []byte("kind: Config\ncurrent-context: shed-old-pi\n")}
	if _, kept, err := Join([]File{elsewhere, {"config", true, fresh}}, access); err != nil || !strings.Contains(string(kept), "shed-old-pi") || strings.Contains(string(kept), "shed-hut-pi") {
		t.Errorf("selected by another file: %v\n%s", err, kept)
	}
}

// TestMergeLeavesOthers: if other clusters' entries have our names, nothing is changed.
func TestMergeLeavesOthers(t *testing.T) {
	const foreign = `apiVersion: v1
kind: Config
clusters: [{name: NAME, cluster: {server: "https://work.example:6443", certificate-authority-data: b3RoZXI=}}]
contexts: [{name: NAME, context: {cluster: NAME, user: NAME}}]
users: [{name: NAME, user: {client-key-data: b25seQ==}}]
`
	const ours = `{name: shed, cluster: {server: "https://old:6443", certificate-authority-data: Y2E=}}`
	for _, c := range []struct {
		what, file, want string
	}{
		{"all of another cluster's", strings.ReplaceAll(foreign, "NAME", "shed"), `a cluster "shed"`},
		{"a second server's", strings.ReplaceAll(foreign, "NAME", "shed-cabin-pi"), `a cluster "shed-cabin-pi"`},
		{"a cluster by a file", "kind: Config\nclusters: [{name: shed, cluster: {certificate-authority: /ca.crt}}]\n", `a cluster "shed"`},
		{"a context", "kind: Config\ncontexts: [{name: shed, context: {cluster: x, user: y}}]\n", `a context "shed"`},
		{"a user that nothing uses", "kind: Config\nusers: [{name: shed, user: {client-key-data: k}}]\n", `a user "shed"`},
		{"a user of both", "kind: Config\nclusters: [" + ours + "]\nusers: [{name: shed, user: {token: t}}]\ncontexts: [{name: a, context: {cluster: shed, user: shed}}, {name: b, context: {cluster: x, user: shed}}]\n", `a user "shed"`},
		{"our own", "kind: Config\nclusters: [" + ours + "]\nusers: [{name: shed, user: {token: t}}]\ncontexts: [{name: shed, context: {cluster: shed, user: shed}}]\n", ""},
	} {
		text, err := merge(c.file)
		if c.want == "" {
			if err != nil || strings.Contains(string(text), "old:6443") {
				t.Errorf("%s: %v\n%s", c.what, err, text)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "kubectl config delete-") {
			t.Errorf("%s: %v, want %s\n%s", c.what, err, c.want, text)
		}
	}
}

// TestJoinWhereKubectlReads: of several files the one is changed to which kubectl would
// write. A name that another file uses for something else counts as taken, and a context
// that a later file selects stays selected.
func TestJoinWhereKubectlReads(t *testing.T) {
	old, err := New(access)
	if err != nil {
		t.Fatal(err)
	}
	empty, foreign := File{Name: "empty", There: true}, File{Name: "foreign", There: true, Text: []byte("kind: Config\nusers: [{name: shed, user: {}}]\n")}
	none, work, ours := File{Name: "none"}, File{Name: "work", There: true, Text: []byte(other)}, File{Name: "ours", There: true, Text: old}
	for _, c := range []struct {
		files   []File
		at      string
		current bool // in what is written
	}{
		{[]File{none, none}, "none", true},
		{[]File{none, empty, none}, "empty", true},
		{[]File{none, empty, work}, "empty", false},
		{[]File{none, work, ours, none}, "ours", true},
		{[]File{work, none}, "work", true},
		{[]File{work, foreign}, "", false},
		{[]File{foreign, work}, "", false},
	} {
		at, text, err := Join(c.files, access)
		if c.at == "" {
			if err == nil || !strings.HasPrefix(err.Error(), "foreign: has a user") {
				t.Errorf("%v: %v", c.files, err)
			}
			continue
		}
		if err != nil || c.files[at].Name != c.at || strings.Contains(string(text), "current-context") != c.current {
			t.Errorf("file %d, %v\n%s", at, err, text)
		}
	}
	if at, _, err := Join([]File{none, none}, access); err != nil || at != 1 {
		t.Errorf("where none is there: %d, %v", at, err)
	}
}

func TestMergeRefuses(t *testing.T) {
	for _, text := range []string{"- a\n", "kind: Pod\n", "{", "kind: Config\nusers: x\n"} {
		if _, err := merge(text); err == nil || !strings.Contains(err.Error(), "no kubeconfig") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}
