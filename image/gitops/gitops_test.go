package gitops_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/gitops"
	"github.com/going-mobile/imagebuilder/overlays"
)

func apps(t *testing.T) fs.FS {
	t.Helper()
	sub, err := fs.Sub(overlays.FS, "apps")
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// load reads the example with some of its text changed.
func load(t *testing.T, change ...string) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Load("fleet.yaml", []byte(strings.NewReplacer(change...).Replace(string(fleet.Example))), nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestValuesAreTheFleets(t *testing.T) {
	const pods = "10.42.0.0/16"
	for _, c := range []struct {
		change []string
		want   gitops.Values
	}{
		{nil, gitops.Values{Domain: "going-mobile.example.net", Timezone: "Europe/Lisbon", Pods: []string{pods}}},
		{[]string{"sites:\n", "  names: {domain: apps.example.org}\nsites:\n"}, gitops.Values{Domain: "apps.example.org", Timezone: "Europe/Lisbon", Pods: []string{pods}}},
		{[]string{"headscale.example.net", "example.net:8443"}, gitops.Values{Domain: "going-mobile.example.net", Timezone: "Europe/Lisbon", Pods: []string{pods}}},
		{[]string{"home: {timezone: Europe/Lisbon,", "home: {"}, gitops.Values{Domain: "going-mobile.example.net", Timezone: "Etc/UTC", Pods: []string{pods}}},
		{[]string{"    config: {", "    init: cabin-pi\n    config: {cluster-cidr: '10.9.0.0/16,fd00::/56', ", "cabin: {timezone: Europe/Lisbon", "cabin: {timezone: Europe/Oslo"},
			gitops.Values{Domain: "going-mobile.example.net", Timezone: "Europe/Oslo", Pods: []string{"10.9.0.0/16", "fd00::/56"}}},
	} {
		got, err := gitops.ValuesOf(load(t, c.change...))
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%q: %v\n%s", c.change, err, diff)
		}
	}
	for _, url := range []string{"https://192.0.2.7", "https://[2001:db8::1]", "https://headscale"} {
		if v, err := gitops.ValuesOf(load(t, fleet.ExampleHeadscale, url, "      hostKey:", "      cert: {env: X}\n      key: {env: X}\n      hostKey:")); !errors.Is(err, fleet.ErrNoDomain) {
			t.Errorf("%s: %+v, %v", url, v, err)
		}
	}
	if v, err := gitops.ValuesOf(load(t, fleet.ExampleHeadscale, "https://Headscale.Example.net")); err == nil {
		t.Errorf("taken for a domain: %+v", v)
	}
}

// TestTheTreeHasTheFleetsValues and no example's, and is the overlay's otherwise.
func TestTheTreeHasTheFleetsValues(t *testing.T) {
	tree, err := gitops.Tree(apps(t), gitops.Values{Domain: "home.test", Timezone: "Europe/Oslo", Pods: []string{"10.9.0.0/16", "fd00::/56"}})
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for name, text := range tree {
		if name != "README.md" {
			all += string(text)
		}
	}
	for word, want := range map[string]int{"example.net": 0, "Etc/UTC": 0, "10.42.": 0, "host: nextcloud.home.test": 1, "host: code.home.test": 1, "value: Europe/Oslo}": 3, `value: "10.9.0.0/16 fd00::/56"}`: 1} {
		if got := strings.Count(all, word); got != want {
			t.Errorf("%q is there %d times, want %d", word, got, want)
		}
	}
	if len(tree) != 11 || tree["nextcloud/dump.yaml"] == nil {
		t.Errorf("%d files", len(tree))
	}
	if _, err := gitops.Tree(apps(t), gitops.Values{Domain: "a: b", Timezone: "Europe/Oslo"}); err == nil {
		t.Error("a tree that no API takes is none")
	}
}

// TestHosts: those of the tree's Ingresses, and what fleet.yaml says to have them.
func TestHosts(t *testing.T) {
	tree, err := gitops.Tree(apps(t), gitops.Values{Domain: "home.test", Timezone: "Europe/Oslo", Pods: []string{"10.9.0.0/16"}})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := gitops.Hosts(tree, "home.test")
	if diff := cmp.Diff([]string{"code", "hakatime", "nextcloud"}, hosts); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if other, err := gitops.Hosts(tree, "other.test"); len(other) > 0 || err != nil {
		t.Errorf("below another domain: %v, %v", other, err)
	}
	for _, c := range []struct {
		have fleet.Names
		want string
	}{
		{fleet.Names{}, "  names: {hosts: [code, hakatime, nextcloud]}"},
		{fleet.Names{Domain: "home.test"}, "  names: {domain: home.test, hosts: [code, hakatime, nextcloud]}"},
		{fleet.Names{Hosts: []string{"own", "hakatime"}}, "  names: {hosts: [own, hakatime, code, nextcloud]}"},
		{fleet.Names{Hosts: []string{"nextcloud", "own", "hakatime", "code"}}, ""},
	} {
		got := gitops.NamesLine(c.have, hosts)
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.have, got, c.want)
		}
		if f := load(t, "sites:\n", got+"\nsites:\n"); c.want != "" && len(f.Applications().Hosts) != len(f.Cluster.Names.Hosts) {
			t.Errorf("%+v", f.Cluster.Names)
		}
	}
}

// TestEverySecretOfTheTree is found, by the one way that there is to refer to one.
func TestEverySecretOfTheTree(t *testing.T) {
	tree, err := gitops.Tree(apps(t), gitops.Values{Domain: "home.test", Timezone: "Europe/Oslo", Pods: []string{"10.9.0.0/16"}})
	if err != nil {
		t.Fatal(err)
	}
	password := map[string]fleet.Ref{"password": {}}
	want := []fleet.Secret{
		{Namespace: "code-server", Name: "login", Data: password}, {Namespace: "hakatime", Name: "db", Data: password},
		{Namespace: "nextcloud", Name: "admin", Data: password}, {Namespace: "nextcloud", Name: "db", Data: password},
	}
	got, err := gitops.Secrets(tree)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for name, text := range tree {
		for _, other := range []string{"secretRef:", "secretName:", "imagePullSecrets:", "secret:"} {
			if strings.Contains(string(text), other) && name != "README.md" {
				t.Errorf("%s refers to a secret by %s, which is not looked for", name, other)
			}
		}
	}
}

func TestLines(t *testing.T) {
	got := gitops.Lines([]fleet.Secret{
		{Namespace: "a", Name: "b", Data: map[string]fleet.Ref{"d": {Age: "secrets/d.age"}, "c": {File: "secrets/c"}}},
		{Namespace: "e", Name: "f", Data: map[string]fleet.Ref{"g": {File: "secrets/g"}}},
	})
	const want = "    - {namespace: a, name: b, data: {c: {file: secrets/c}, d: {age: secrets/d.age}}}\n    - {namespace: e, name: f, data: {g: {file: secrets/g}}}\n"
	if got != want {
		t.Error(got)
	}
	if f := load(t, "sites:\n", "  secrets:\n"+got+"sites:\n"); len(f.Cluster.Secrets) != 2 {
		t.Errorf("%+v", f.Cluster.Secrets)
	}
}

// TestWriteKeepsWhatAPersonChanged: all or nothing, unless it is told to.
func TestWriteKeepsWhatAPersonChanged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster", "apps")
	tree := map[string][]byte{"README.md": []byte("r"), "a/one.yaml": []byte("1"), "b/two.yaml": []byte("2")}
	read := func() string {
		var all []string
		for _, name := range []string{"README.md", "a/one.yaml", "b/two.yaml", "b/own.yaml"} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				text = []byte("-")
			}
			all = append(all, string(text))
		}
		return strings.Join(all, " ")
	}
	if err := gitops.Write(dir, tree, false); err != nil || read() != "r 1 2 -" {
		t.Fatalf("%v: %s", err, read())
	}
	for name, text := range map[string]string{"b/two.yaml": "mine", "b/own.yaml": "own"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "README.md")); err != nil {
		t.Fatal(err)
	}
	if err := gitops.Write(dir, tree, false); err == nil || !strings.Contains(err.Error(), "differ from what would be written: b/two.yaml;") || read() != "- 1 mine own" {
		t.Errorf("%v: %s", err, read())
	}
	if err := gitops.Write(dir, tree, true); err != nil || read() != "r 1 2 own" {
		t.Errorf("%v: %s", err, read())
	}
}
