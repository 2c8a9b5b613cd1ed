// Package gitops writes the applications of the overlay apps for one fleet's Git repository,
// with the fleet's values: names below its domain, its time zone and its pods' network. It
// also lists the secrets that the applications refer to.
//
// It uses neither Git nor the cluster, and overwrites nothing that a person changed unless
// told to.
package gitops

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/objects"
)

// Values are the fleet's own values in the manifests.
type Values struct {
	// Domain is the domain of the applications' names, such as apps.example.net.
	Domain string
	// Timezone is a name of the tz database.
	Timezone string
	// Pods are the networks of the cluster's pods, in CIDR notation.
	Pods []string
}

// example are the placeholders in the overlay; Pods is k3s' default network.
var example = Values{Domain: "apps.example.net", Timezone: "Etc/UTC", Pods: []string{contract.PodNetwork}}

// ValuesOf reads a fleet's values. The error is fleet.ErrNoDomain if no domain is known.
func ValuesOf(f *fleet.Fleet) (Values, error) {
	v := Values{Timezone: example.Timezone, Pods: example.Pods}
	var err error
	if v.Domain, err = f.Domain(); err != nil {
		return v, err
	}
	if err := node.CheckDomain(v.Domain); err != nil {
		return v, fmt.Errorf("%q is no domain: %w", v.Domain, err)
	}
	if n, ok := f.Nodes.Get(f.Cluster.K3s.Init); ok && f.Sites[n.Site].Timezone != "" {
		v.Timezone = f.Sites[n.Site].Timezone
	}
	if own := node.Settings(f.Cluster.K3s.Config).List("cluster-cidr"); len(own) > 0 {
		v.Pods = strings.Split(strings.Join(own, ","), ",") // a list, or one text (docs.k3s.io)
	}
	return v, nil
}

// Tree returns the manifests, by path, and their README, from the overlay's directory. The
// filled-in manifests were checked by image/objects.
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

// Hosts are the first labels of the names below domain that a tree's Ingresses serve.
func Hosts(tree map[string][]byte, domain string) (hosts []string, err error) {
	err = each(tree, func(o objects.Object) {
		spec, _ := o.Value["spec"].(map[string]any)
		rules, _ := spec["rules"].([]any)
		for _, rule := range rules {
			rule, _ := rule.(map[string]any)
			name, _ := rule["host"].(string)
			if host, below := strings.CutSuffix(name, "."+domain); below && o.Kind == "Ingress" {
				hosts = append(hosts, host)
			}
		}
	})
	return hosts, err
}

// each calls see for every object of a tree.
func each(tree map[string][]byte, see func(objects.Object)) error {
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if path.Ext(name) != ".yaml" {
			continue
		}
		all, err := objects.Parse(name, tree[name])
		if err != nil {
			return err
		}
		for _, o := range all {
			see(o)
		}
	}
	return nil
}

// Secrets are the Secrets to which the manifests of a tree refer, with their keys.
func Secrets(tree map[string][]byte) ([]fleet.Secret, error) {
	found := map[string]fleet.Secret{}
	err := each(tree, func(o objects.Object) {
		referred(o.Value, func(name, key string) {
			id := o.Namespace + "/" + name
			if _, ok := found[id]; !ok {
				found[id] = fleet.Secret{Namespace: o.Namespace, Name: name, Data: map[string]fleet.Ref{}}
			}
			found[id].Data[key] = fleet.Ref{}
		})
	})
	var all []fleet.Secret
	for _, id := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[id])
	}
	return all, err
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

// NamesLine is the line names: of fleet.yaml, below cluster:, with all of hosts added, "" if
// have contains them already.
func NamesLine(have fleet.Names, hosts []string) string {
	all := slices.Clone(have.Hosts)
	for _, host := range hosts {
		if !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	if len(all) == len(have.Hosts) {
		return ""
	}
	domain := ""
	if have.Domain != "" {
		domain = "domain: " + have.Domain + ", "
	}
	return fmt.Sprintf("  names: {%shosts: [%s]}", domain, strings.Join(all, ", "))
}

// Lines are secrets in the form of fleet.yaml, below cluster:.
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

// Write writes a tree into a directory, which it creates. If existing files differ, it fails
// before it writes anything, unless force overwrites them. Other files stay.
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
		if err := atomicfile.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := atomicfile.WriteFile(file, tree[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}
