// Package kubeconfig makes the file with which kubectl reaches a cluster
// (kubernetes.io, "Organizing Cluster Access Using kubeconfig Files") from what
// the cluster's owner has at home, before any of its servers is switched on.
//
// It refuses to change what other clusters have in a file that it joins.
package kubeconfig

import (
	"encoding/base64"
	"errors"
	"fmt"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/image/clusterca"
)

// Access is who reaches which cluster, and where.
type Access struct {
	// Cluster names the entries; servers after the first get their own name
	// behind it.
	Cluster string
	// Servers are addresses of the API, https://HOST:PORT.
	Servers []Server
	CA      []byte // PEM, of the servers' certificates
	Admin   clusterca.Pair
}

// Server is one server of the cluster.
type Server struct{ Name, Address string }

type object = map[string]any

// Merge returns the kubeconfig have with the access in it, in place of entries
// of the same names. An empty one is a new file.
func Merge(have []byte, a Access) ([]byte, error) {
	file := object{}
	if err := yaml.Unmarshal(have, &file); err != nil {
		return nil, fmt.Errorf("is no kubeconfig: %w", err)
	}
	if kind, ok := file["kind"]; len(file) > 0 && (!ok || kind != "Config") {
		return nil, errors.New("is no kubeconfig: its kind is not Config")
	}
	file["apiVersion"], file["kind"] = "v1", "Config"
	if err := put(file, "users", a.Cluster, "user", object{"client-certificate-data": encode(a.Admin.Cert), "client-key-data": encode(a.Admin.Key)}); err != nil {
		return nil, err
	}
	for i, s := range a.Servers {
		name := a.Cluster
		if i > 0 {
			name += "-" + s.Name
		}
		err := errors.Join(
			put(file, "clusters", name, "cluster", object{"server": s.Address, "certificate-authority-data": encode(a.CA)}),
			put(file, "contexts", name, "context", object{"cluster": name, "user": a.Cluster}))
		if err != nil {
			return nil, err
		}
	}
	if current, _ := file["current-context"].(string); current == "" {
		file["current-context"] = a.Cluster
	}
	return yaml.Marshal(file)
}

// put replaces or adds the entry of a name in one of the file's lists.
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
