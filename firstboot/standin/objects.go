//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/objects"
)

// The API's objects, as k3s' deploy controller and a server-side apply create them: they are
// checked strictly by kind, field and type, and stored. There are no controllers: a test creates
// what a controller would create, or writes the status that one would write.

// applied holds objects, by "KIND NAMESPACE/NAME".
type applied map[string]map[string]any

func keyOf(kind, namespace, name string) string {
	return kind + " " + strings.TrimPrefix(namespace+"/"+name, "/")
}

// put checks and stores objects, and reports whether any of them is new. As in the API, an object's
// namespace must exist.
func (c *cluster) put(name string, data []byte) (created bool, err error) {
	all, err := objects.Parse(name, data)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range all {
		if o.Namespace != "" && o.Namespace != "kube-system" && c.Objects[keyOf("Namespace", "", o.Namespace)] == nil {
			return false, fmt.Errorf("%s: namespaces %q not found", name, o.Namespace)
		}
		key := keyOf(o.Kind, o.Namespace, o.Name)
		created = created || c.Objects[key] == nil
		c.Objects[key] = o.Value
	}
	return created, c.saveLocked()
}

// apply implements a server-side apply.
func (c *cluster) apply(w http.ResponseWriter, r *http.Request) {
	if kind := r.Header.Get("Content-Type"); kind != "application/apply-patch+yaml" || r.URL.Query().Get("fieldManager") == "" {
		http.Error(w, "the stand-in knows a server-side apply with a fieldManager, not "+kind, http.StatusUnsupportedMediaType)
		return
	}
	var created bool
	data, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		created, err = c.put(r.URL.Path, data)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	if created { // kubernetes.io, "Server-Side Apply": answered as a POST is
		w.WriteHeader(http.StatusCreated)
	}
	_, _ = w.Write(data)
}

// object answers with the object under a key, or with all keys.
func (c *cluster) object(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := r.URL.Query().Get("key"); key != "" {
		_ = json.NewEncoder(w).Encode(c.Objects[key])
		return
	}
	keys := []string{}
	for k := range c.Objects {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	_ = json.NewEncoder(w).Encode(keys)
}

// longhornPath is the path at which firstboot reads Longhorn's objects, and creates those that make
// Longhorn do something.
const longhornPath = "/apis/longhorn.io/v1beta2/namespaces/{namespace}/{plural}/{name}"

// made stores an object as a controller would create it, with its status.
func (c *cluster) made(w http.ResponseWriter, r *http.Request) {
	var o struct {
		Kind     string
		Metadata struct{ Namespace, Name string }
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	value := map[string]any{}
	if err := errors.Join(err, json.Unmarshal(data, &o), json.Unmarshal(data, &value)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Objects[keyOf(o.Kind, o.Metadata.Namespace, o.Metadata.Name)] = value
	if err := c.saveLocked(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(data)
}

// found answers with an object by the plural of its kind, or 404.
func (c *cluster) found(w http.ResponseWriter, r *http.Request) {
	for _, o := range c.ofKind(r) {
		if nameOf(o) == r.PathValue("name") {
			_ = json.NewEncoder(w).Encode(o)
			return
		}
	}
	http.NotFound(w, r)
}

// listed answers with all objects of a kind. If nobody has created any, the kind is unknown, since
// its definition comes with the chart.
func (c *cluster) listed(w http.ResponseWriter, r *http.Request) {
	all := c.ofKind(r)
	if len(all) == 0 {
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"items": all})
}

// changed applies an object of Longhorn's or, of a merge patch, takes what is in its spec.
func (c *cluster) changed(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Content-Type") != "application/merge-patch+json" {
		c.apply(w, r)
		return
	}
	var p struct{ Spec map[string]any }
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, o := range c.ofKind(r) {
		if nameOf(o) == r.PathValue("name") {
			maps.Copy(o["spec"].(map[string]any), p.Spec)
			c.saved(w, o)
			return
		}
	}
	http.NotFound(w, r)
}

// deleted removes an object of Longhorn's. Its webhook keeps the record of a node that takes
// replicas, or has some.
func (c *cluster) deleted(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, o := range c.Objects {
		kind, _, _ := strings.Cut(key, " ")
		if strings.ToLower(kind)+"s" != r.PathValue("plural") || key != keyOf(kind, r.PathValue("namespace"), r.PathValue("name")) {
			continue
		}
		if kind == "Node" && (o["spec"].(map[string]any)["allowScheduling"] == true || c.replicated(r.PathValue("name"))) {
			http.Error(w, `{"message":"admission webhook \"validator.longhorn.io\" denied the request: could not delete node"}`, http.StatusForbidden)
			return
		}
		delete(c.Objects, key)
		c.saved(w, o)
		return
	}
	http.NotFound(w, r)
}

// replicated says that a node has a replica of Longhorn's.
func (c *cluster) replicated(node string) bool {
	for key, o := range c.Objects {
		if strings.HasPrefix(key, "Replica ") && o["spec"].(map[string]any)["nodeID"] == node {
			return true
		}
	}
	return false
}

func nameOf(object map[string]any) any {
	meta, _ := object["metadata"].(map[string]any)
	return meta["name"]
}

// ofKind returns the objects that a path selects by namespace and plural.
func (c *cluster) ofKind(r *http.Request) (all []map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(c.Objects)) {
		kind, _, _ := strings.Cut(key, " ")
		if strings.ToLower(kind)+"s" == r.PathValue("plural") && strings.HasPrefix(key, keyOf(kind, r.PathValue("namespace"), "")) {
			all = append(all, c.Objects[key])
		}
	}
	return all
}

// deploy applies the manifests of a server, and retries those that failed, as k3s' deploy
// controller does. A file is applied once for each change.
func (n *self) deploy(ctx context.Context) {
	seen := map[string]time.Time{}
	for ctx.Err() == nil {
		files, _ := filepath.Glob(at(filepath.Join(n.data, "server/manifests/*.yaml")))
		for _, name := range files {
			info, err := os.Stat(name)
			if err != nil || seen[name].Equal(info.ModTime()) {
				continue
			}
			if err := n.deployFile(name); err != nil {
				log.Printf("level=error msg=%q", err.Error())
				continue
			}
			seen[name] = info.ModTime()
		}
		select {
		case <-ctx.Done():
		case <-time.After(beat):
		}
	}
}

func (n *self) deployFile(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	_, err = n.cluster.put(filepath.Base(name), data)
	return err
}
