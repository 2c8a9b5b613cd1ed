// Package kubeconfig makes the file with which kubectl reaches a cluster (kubernetes.io,
// "Organizing Cluster Access Using kubeconfig Files") from what the cluster's owner has at
// home, before any server is switched on.
//
// It refuses to change entries of other clusters in an existing file: an entry with the same
// name may be the only copy of somebody's key.
package kubeconfig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/image/clusterca"
)

// Access is the cluster, its servers' addresses, and the certificate for it.
type Access struct {
	// Cluster names the entries; for servers after the first, the server's name is appended.
	Cluster string
	// Servers are addresses of the API, https://HOST:PORT.
	Servers []Server
	CA      []byte // PEM, the authority of the servers' certificates
	Admin   clusterca.Pair
}

// Server is one server of the cluster.
type Server struct{ Name, Address string }

// Address is a server's address by its name in the tailnet.
func Address(name string) string { return "https://" + name + ":6443" }

type object = map[string]any

// File is one of the files that kubectl merges.
type File struct {
	Name  string
	There bool // false if the file has yet to be created
	Text  []byte
}

// Join puts the access into one of the files, in place of the cluster's previous entries
// with the same names and of those for former servers, and returns that file's index and new
// text. kubectl takes an entry from the first file that has it. It puts a new entry into the
// first file that exists, or else into the last (k8s.io/client-go, tools/clientcmd,
// PathOptions.GetDefaultFilename).
func Join(files []File, a Access) (at int, text []byte, err error) {
	all := make([]object, len(files))
	for i, f := range files {
		if all[i], err = a.read(f.Text); err != nil {
			return 0, nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if at = slices.IndexFunc(all, a.isIn); at < 0 {
		at = slices.IndexFunc(files, func(f File) bool { return f.There })
	}
	if at < 0 {
		at = len(files) - 1
	}
	if err := a.put(all[at]); err != nil {
		return 0, nil, fmt.Errorf("%s: %w", files[at].Name, err)
	}
	a.dropFormer(all, at)
	if !slices.ContainsFunc(all, hasContext) {
		all[at]["current-context"] = a.Cluster
	}
	text, err = yaml.Marshal(all[at])
	return at, text, err
}

// New returns a kubeconfig with this access only.
func New(a Access) ([]byte, error) {
	_, text, err := Join([]File{{}}, a)
	return text, err
}

func hasContext(file object) bool {
	current, _ := file["current-context"].(string)
	return current != ""
}

// read refuses a file that is not a kubeconfig, or uses our names for something else. An
// empty text is a new file.
func (a Access) read(text []byte) (object, error) {
	file := object{}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("is no kubeconfig: %w", err)
	}
	if kind, ok := file["kind"]; len(file) > 0 && (!ok || kind != "Config") {
		return nil, errors.New("is no kubeconfig: its kind is not Config")
	}
	return file, a.refuseOthers(file)
}

// isIn says whether a file has one of our entries.
func (a Access) isIn(file object) bool {
	has := len(find(file, "users", "user", "", a.Cluster)) > 0
	for i := range a.Servers {
		name := a.entry(i)
		has = has || len(find(file, "clusters", "cluster", "", name)) > 0 || len(find(file, "contexts", "context", "", name)) > 0
	}
	return has
}

// put replaces or adds our entries.
func (a Access) put(file object) error {
	file["apiVersion"], file["kind"] = "v1", "Config"
	if err := put(file, "users", a.Cluster, "user", object{"client-certificate-data": encode(a.Admin.Cert), "client-key-data": encode(a.Admin.Key)}); err != nil {
		return err
	}
	for i, s := range a.Servers {
		name := a.entry(i)
		err := errors.Join(
			put(file, "clusters", name, "cluster", object{"server": s.Address, "certificate-authority-data": encode(a.CA)}),
			put(file, "contexts", name, "context", object{"cluster": name, "user": a.Cluster}))
		if err != nil {
			return err
		}
	}
	return nil
}

// entry is the name of a server's entry.
func (a Access) entry(i int) string {
	if i == 0 {
		return a.Cluster
	}
	return a.Cluster + "-" + a.Servers[i].Name
}

// refuseOthers refuses a file in which entries with our names belong to another cluster. A
// cluster entry is ours if it has our authority, a context if it refers to our cluster, and
// a user if only such contexts use it.
func (a Access) refuseOthers(file object) error {
	for i := range a.Servers {
		name := a.entry(i)
		if len(find(file, "clusters", "cluster", "", name)) > 0 && !a.ours(file, name) {
			return taken("cluster", name)
		}
		for _, c := range find(file, "contexts", "context", "", name) {
			if !a.ours(file, c["cluster"]) {
				return taken("context", name)
			}
		}
	}
	if len(find(file, "users", "user", "", a.Cluster)) == 0 {
		return nil
	}
	uses := find(file, "contexts", "context", "user", a.Cluster)
	if len(uses) == 0 || slices.ContainsFunc(uses, func(c object) bool { return !a.ours(file, c["cluster"]) }) {
		return taken("user", a.Cluster)
	}
	return nil
}

// ours says whether all cluster entries with that name have our authority.
func (a Access) ours(file object, name any) bool {
	found := find(file, "clusters", "cluster", "", name)
	other := func(c object) bool { return c["certificate-authority-data"] != encode(a.CA) }
	return len(found) > 0 && !slices.ContainsFunc(found, other)
}

func taken(kind, name string) error {
	return fmt.Errorf("has a %s %q that is not of this cluster, and may be the only copy: nothing was changed. Rename it there, remove it (kubectl config delete-%s %s), or keep this cluster in a file of its own (--out FILE, and KUBECONFIG with both)", kind, name, kind, name)
}

// find returns the values of the entries in a list whose name (field "") or field is value.
func find(file object, list, kind, field string, value any) (out []object) {
	entries, _ := file[list].([]any)
	for _, each := range entries {
		entry, _ := each.(object)
		held, _ := entry[kind].(object)
		if field == "" && entry["name"] == value || field != "" && held[field] == value {
			out = append(out, held)
		}
	}
	return out
}

// put replaces or adds the entry with a name in one of the file's lists.
func put(file object, list, name, kind string, value object) error {
	entries, ok := file[list].([]any)
	if !ok && file[list] != nil {
		return fmt.Errorf("is no kubeconfig: %s is no list", list)
	}
	entry := object{"name": name, kind: value}
	for i := range entries {
		if e, ok := entries[i].(object); ok && e["name"] == name {
			entries[i] = entry
			return nil
		}
	}
	file[list] = append(entries, entry)
	return nil
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
