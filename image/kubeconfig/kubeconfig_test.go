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

const other = `apiVersion: v1
kind: Config
clusters: [{name: other, cluster: {server: "https://other:6443", tls-server-name: x}}]
contexts: [{name: other, context: {cluster: other, user: other}}]
users: [{name: other, user: {token: t}}]
current-context: other
preferences: {colors: true}
`

func TestMerge(t *testing.T) {
	fresh, err := Merge(nil, access)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, fresh), "shed=https://home-pi:6443 shed-cabin-pi=https://cabin-pi:6443 shed shed-cabin-pi shed shed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	joined, err := Merge([]byte(other), access)
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
	again, err := Merge(joined, access)
	if err != nil || string(again) != string(joined) {
		t.Errorf("a second time changes it: %v", err)
	}
}

func TestMergeRefuses(t *testing.T) {
	for _, text := range []string{"- a\n", "kind: Pod\n", "{", "kind: Config\nusers: x\n"} {
		if _, err := Merge([]byte(text), access); err == nil || !strings.Contains(err.Error(), "no kubeconfig") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}
