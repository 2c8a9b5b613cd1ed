//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"
)

// The API's nodes: what kubectl, the kubelet and firstboot read and patch.

// noPods answers with an empty list of pods: a stand-in runs none.
func noPods(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "v1", "kind": "PodList", "items": []any{}})
}

// patch merges labels, annotations and unschedulable, and no other field. An annotation that is
// null becomes "", which nobody here tells from an absent one.
func (c *cluster) patch(w http.ResponseWriter, r *http.Request) {
	var p struct {
		Metadata metadata
		Spec     struct{ Unschedulable *bool }
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	if m := c.Nodes[r.PathValue("name")]; m != nil {
		m.Metadata = metadata{merged(m.Metadata.Labels, p.Metadata.Labels), merged(m.Metadata.Annotations, p.Metadata.Annotations)}
		if p.Spec.Unschedulable != nil {
			m.Cordoned = *p.Spec.Unschedulable
		}
	}
	err := c.saveLocked()
	c.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	c.node(w, r)
}

func merged(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

func (c *cluster) node(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep()
	m := c.Nodes[r.PathValue("name")]
	if m == nil {
		notFound(w, "nodes", r.PathValue("name"))
		return
	}
	_ = json.NewEncoder(w).Encode(m.object())
}

// letGo is how long etcd takes to remove a deleted voter. Until then the Node object stays, as k3s'
// controller keeps it with a finalizer.
const letGo = time.Second

// sweep removes the deleted nodes whose time is over.
func (c *cluster) sweep() {
	for name, m := range c.Nodes {
		if !m.Going.IsZero() && time.Since(m.Going) > letGo {
			c.drop(name)
		}
	}
}

func (c *cluster) drop(name string) {
	delete(c.Nodes, name)
	delete(c.Passwords, name)
}

// remove deletes a node and its password. It does not tell the other servers: while they live they
// bring the node back, as the node's own kubelet would.
func (c *cluster) remove(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep()
	name := r.PathValue("name")
	m := c.Nodes[name]
	switch {
	case m == nil:
		notFound(w, "nodes", name)
		return
	case m.Role == "agent":
		c.drop(name)
	case m.Going.IsZero():
		m.Going = time.Now()
	}
	c.saved(w, m.object())
}

// saved answers with the changed object, once the change is saved.
func (c *cluster) saved(w http.ResponseWriter, object any) {
	if err := c.saveLocked(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(object)
}

// nodes supports a selector of one label.
func (c *cluster) nodes(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep()
	want, items := r.FormValue("labelSelector"), []any{}
	for _, m := range c.Nodes {
		if _, has := merged(m.Labels, m.Metadata.Labels)[want]; has || want == "" {
			items = append(items, m.object())
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "v1", "kind": "NodeList", "items": items})
}

// passwordPath is the path of the node password Secrets that k3s itself creates.
const passwordPath = "/api/v1/namespaces/kube-system/secrets/{secret}"

const passwordSuffix = ".node-password.k3s"

// password answers without the Secret's data, which nobody asks for.
func (c *cluster) password(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep()
	name := r.PathValue("secret")
	if _, ok := c.Passwords[strings.TrimSuffix(name, passwordSuffix)]; !ok {
		notFound(w, "secrets", name)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": "kube-system"}})
}

func (c *cluster) forgetPassword(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := r.PathValue("secret")
	node := strings.TrimSuffix(name, passwordSuffix)
	if _, ok := c.Passwords[node]; !ok {
		notFound(w, "secrets", name)
		return
	}
	delete(c.Passwords, node)
	c.saved(w, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Success"})
}

// notFound answers with the API's Status object.
func notFound(w http.ResponseWriter, kind, name string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": http.StatusNotFound,
		"message": fmt.Sprintf("%s %q not found", kind, name),
	})
}

// object returns the node in the form of core/v1, as far as anybody reads it.
func (m *member) object() map[string]any {
	args, _ := json.Marshal(m.Args) // a list of texts
	status, message := "True", "stand-in is posting ready status"
	if time.Since(m.Seen) > 20*time.Second {
		status, message = "Unknown", "stand-in stopped posting node status"
	}
	meta := map[string]any{"name": m.Name, "labels": merged(m.Labels, m.Metadata.Labels),
		"annotations": merged(m.Metadata.Annotations, map[string]string{"k3s.io/node-args": string(args)})}
	if !m.Going.IsZero() {
		meta["deletionTimestamp"] = m.Going.UTC().Format(time.RFC3339)
	}
	return map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": meta,
		"spec":     map[string]any{"taints": m.Taints, "unschedulable": m.Cordoned},
		"status": map[string]any{
			"addresses":  []any{map[string]any{"type": "InternalIP", "address": m.IP}},
			"conditions": []any{map[string]any{"type": "Ready", "status": status, "message": message}},
			"nodeInfo":   map[string]any{"kubeletVersion": "v0.0.0+standin"},
		},
	}
}
