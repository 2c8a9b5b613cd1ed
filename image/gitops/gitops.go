// Package gitops writes the applications of the overlay apps as one fleet has them,
// for its owner's Git repository: names below the fleet's domain, its time zone,
// the network of its pods; and lists the secrets that they refer to.
//
// It knows neither Git nor the cluster, and overwrites nothing that a person
// changed unless it is told to.
package gitops

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/objects"
)

// Values are what a fleet has of its own in the manifests.
type Values struct {
	// Domain is what the applications' names are below, like apps.example.net.
	Domain string
	// Timezone is one of tzdata's names.
	Timezone string
	// Pods are the networks of the cluster's pods, in CIDR notation.
	Pods []string
}

// example is what stands for them in the overlay, k3s' own network of pods.
var example = Values{Domain: "apps.example.net", Timezone: "Etc/UTC", Pods: []string{contract.PodNetwork}}

// domainName is as long as leaves room for an application's name before it: RFC
// 1123, at most 253.
var domainName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ErrNoDomain says that the fleet's file does not tell a domain.
var ErrNoDomain = errors.New("the address of your Headscale has no domain in which names of applications could be")

// ValuesOf reads a fleet. With domain "" it is the cluster's name, in the domain
// that the Headscale's address is in: that one is its owner's, or ErrNoDomain.
func ValuesOf(f *fleet.Fleet, domain string) (Values, error) {
	v := Values{Domain: domain, Timezone: example.Timezone, Pods: example.Pods}
	if domain == "" {
		u, err := url.Parse(f.Cluster.Headscale.URL)
		if err != nil {
			return v, err
		}
		parent := u.Hostname()
		if _, err := netip.ParseAddr(parent); err == nil || !strings.Contains(parent, ".") {
			return v, ErrNoDomain
		}
		if rest := parent[strings.Index(parent, ".")+1:]; strings.Contains(rest, ".") {
			parent = rest
		}
		v.Domain = f.Cluster.Name + "." + parent
	}
	if len(v.Domain) > 240 || !domainName.MatchString(v.Domain) {
		return v, fmt.Errorf("%q is no domain: want small letters, digits and hyphens between dots, like apps.example.net", v.Domain)
	}
	if n, ok := f.Nodes.Get(f.Cluster.K3s.Init); ok && f.Sites[n.Site].Timezone != "" {
		v.Timezone = f.Sites[n.Site].Timezone
	}
	if own := node.Settings(f.Cluster.K3s.Config).List("cluster-cidr"); len(own) > 0 {
		v.Pods = strings.Split(strings.Join(own, ","), ",") // a list, or one text (docs.k3s.io)
	}
	return v, nil
}

// Tree is the manifests, by their paths, and their README, from the directory of
// the overlay. What was filled in has been read back by image/objects.
func Tree(apps fs.FS, v Values) (map[string][]byte, error) {
	fill := strings.NewReplacer(example.Domain, v.Domain, example.Timezone, v.Timezone, example.Pods[0], strings.Join(v.Pods, " "))
	const root = "gitops/"
	readme, err := fs.ReadFile(apps, "README.md")
	if err != nil {
		return nil, err
	}
	tree := map[string][]byte{"README.md": readme}
	err = fs.WalkDir(apps, path.Clean(root), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(apps, name)
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(name, root)
		tree[name] = []byte(fill.Replace(string(data)))
		_, err = objects.Parse(name, tree[name])
		return err
	})
	return tree, err
}

// Secrets are those that the manifests of a tree refer to, with their keys.
func Secrets(tree map[string][]byte) ([]fleet.Secret, error) {
	found := map[string]fleet.Secret{}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if path.Ext(name) != ".yaml" {
			continue
		}
		all, err := objects.Parse(name, tree[name])
		if err != nil {
			return nil, err
		}
		for _, o := range all {
			referred(o.Value, func(name, key string) {
				id := o.Namespace + "/" + name
				if _, ok := found[id]; !ok {
					found[id] = fleet.Secret{Namespace: o.Namespace, Name: name, Data: map[string]fleet.Ref{}}
				}
				found[id].Data[key] = fleet.Ref{}
			})
		}
	}
	var all []fleet.Secret
	for _, id := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[id])
	}
	return all, nil
}

// referred calls found for each secretKeyRef below a value.
func referred(v any, found func(name, key string)) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			referred(item, found)
		}
	case map[string]any:
		for field, item := range v {
			if ref, ok := item.(map[string]any); ok && field == "secretKeyRef" {
				found(fmt.Sprint(ref["name"]), fmt.Sprint(ref["key"]))
				continue
			}
			referred(item, found)
		}
	}
}

// Lines are secrets as they stand in fleet.yaml below cluster:.
func Lines(all []fleet.Secret) string {
	var b strings.Builder
	for _, s := range all {
		var data []string
		for _, key := range slices.Sorted(maps.Keys(s.Data)) {
			kind := "file"
			if s.Data[key].Age != "" {
				kind = "age"
			}
			data = append(data, fmt.Sprintf("%s: {%s: %s}", key, kind, s.Data[key]))
		}
		fmt.Fprintf(&b, "    - {namespace: %s, name: %s, data: {%s}}\n", s.Namespace, s.Name, strings.Join(data, ", "))
	}
	return b.String()
}

// Write puts a tree into a directory, which it makes. Files that are there and
// differ are an error before anything is written, unless force overwrites them;
// other files stay.
func Write(dir string, tree map[string][]byte, force bool) error {
	var missing, changed []string
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		have, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, name)
		case err != nil:
			return err
		case string(have) != string(tree[name]):
			changed = append(changed, name)
		}
	}
	if len(changed) > 0 && !force {
		return fmt.Errorf("%s has files that differ from what would be written: %s; keep them in Git and overwrite them with --force, or name another directory", dir, strings.Join(changed, ", "))
	}
	for _, name := range append(missing, changed...) {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := atomicfile.WriteFile(file, tree[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}
