package apiserver_test

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/gitops"
	"github.com/going-mobile/imagebuilder/overlays"
)

// variants are ways to say what a cluster begins with, as changes of the fleet's
// file, and how many manifests they give.
var variants = []struct {
	name   string
	change []string
	files  int
}{
	{"everything", nil, 6},
	{"no backup", []string{backup, "    replicas: 2\n"}, 6},
	{"a repository by https", []string{"ssh://git@", "https://", ", deployKey: {file: secrets/deploy.key}, knownHosts: {file: secrets/known_hosts}", ""}, 6},
	{"scp's form, another branch", []string{"ssh://git@git.example.net/home", "git@git.example.net:home", "path: apps", "revision: v1.2"}, 6},
	{"one site with volumes", []string{"cabin-box: {board: optiplex-7050, site: cabin", "cabin-box: {board: optiplex-7050, site: home"}, 6},
	{"a bucket without a prefix, one replica", []string{", prefix: home/", "", "  longhorn:\n", "  longhorn:\n    replicas: 1\n"}, 6},
	{"storage only", []string{follows, ""}, 4},
	{"Git only", []string{"  longhorn:\n" + backup, ""}, 4},
	{"nothing", []string{payload, "sites:\n"}, 2},
}

// seeds are the manifests of all variants by their names.
func seeds() (map[string]string, error) {
	all := map[string]string{}
	for _, v := range variants {
		f, err := changed(first.home, v.change...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
		c, err := f.Config(f.Cluster.K3s.Init)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
		if n := len(c.K3s.Seed.Manifests); n != v.files {
			return nil, fmt.Errorf("%s: %d manifests, want %d", v.name, n, v.files)
		}
		for name, text := range c.K3s.Seed.Manifests {
			all[v.name+": "+name] = text
		}
	}
	return all, applications(all)
}

// applications adds the manifests of the overlay apps.
func applications(all map[string]string) error {
	apps, err := fs.Sub(overlays.FS, "apps")
	if err != nil {
		return err
	}
	tree, err := gitops.Tree(apps, gitops.Values{Domain: "apps.example.net", Timezone: "Etc/UTC", Pods: []string{"10.42.0.0/16"}})
	for name, text := range tree {
		if path.Ext(name) == ".yaml" {
			all["applications: "+name] = string(text)
		}
	}
	return err
}

// TestEveryManifestIsTaken by server-side apply, namespaces first, and nothing of it
// is lost: what a kind does not have would be dropped.
func TestEveryManifestIsTaken(t *testing.T) {
	all, err := seeds()
	if err != nil {
		t.Fatal(err)
	}
	var docs []document
	for _, name := range slices.Sorted(maps.Keys(all)) {
		more, err := documents(name, []byte(all[name]))
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, more...)
	}
	rank := map[string]int{"Namespace": -1}
	slices.SortStableFunc(docs, func(a, b document) int { return cmp.Compare(rank[a.Kind], rank[b.Kind]) })
	for _, d := range docs {
		t.Run(strings.ReplaceAll(d.String(), "/", "."), func(t *testing.T) { takes(t, d) })
	}
	if len(docs) < 70 {
		t.Errorf("%d objects were judged", len(docs))
	}
}

// applied is the path of an object that the server took, to keep it or, dry, to judge
// it only.
func applied(t *testing.T, d document, dry bool) (path string) {
	t.Helper()
	ctx := context.Background()
	path, err := first.path(ctx, d.APIVersion, d.Kind, d.Namespace, d.Name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := d.text()
	if err != nil {
		t.Fatal(err)
	}
	if refused, err := first.apply(ctx, path, text, dry); err != nil || refused != "" {
		t.Fatalf("%s %v\n%s", refused, err, text)
	}
	return path
}

// takes applies an object and reads it back.
func takes(t *testing.T, d document) {
	ctx := context.Background()
	path := applied(t, d, false)
	var got object
	if err := first.get(ctx, path, &got); err != nil {
		t.Fatal(err)
	}
	for _, lost := range missing(d.Value, got, "") {
		t.Errorf("%s is not what was applied", lost)
	}
}

// missing lists where want is not in have.
func missing(want, have any, at string) (lost []string) {
	switch w := want.(type) {
	case object:
		h, _ := have.(object)
		for k, v := range w {
			lost = append(lost, missing(v, h[k], at+"."+k)...)
		}
		return lost
	case []any:
		h, _ := have.([]any)
		if len(h) == len(w) {
			for i := range w {
				lost = append(lost, missing(w[i], h[i], fmt.Sprintf("%s[%d]", at, i))...)
			}
			return lost
		}
	}
	if fmt.Sprint(want) == fmt.Sprint(have) { // numbers are of several types
		return nil
	}
	return []string{at}
}
