//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"
)

// The nodes of the API: what kubectl, the kubelet and firstboot read and patch.

// patch merges labels and annotations, and knows no more of a merge.
func (c *cluster) patch(w http.ResponseWriter, r *http.Request) {
	var p struct{ Metadata metadata }
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	if m := c.Nodes[r.PathValue("name")]; m != nil {
		m.Metadata = metadata{merged(m.Metadata.Labels, p.Metadata.Labels), merged(m.Metadata.Annotations, p.Metadata.Annotations)}
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
	m := c.Nodes[r.PathValue("name")]
	if m == nil {
		http.Error(w, fmt.Sprintf("nodes %q not found", r.PathValue("name")), http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(m.object())
}

// remove forgets a node and its password. It does not tell the other servers:
// those that live bring the node back, as its own kubelet would.
func (c *cluster) remove(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.Nodes, r.PathValue("name"))
	if err := c.saveLocked(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "node %q deleted\n", r.PathValue("name"))
}

func (c *cluster) nodes(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items := []any{}
	for _, m := range c.Nodes {
		items = append(items, m.object())
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "v1", "kind": "NodeList", "items": items})
}

// object is the node as core/v1 writes it, as far as anybody asks.
func (m *member) object() map[string]any {
	args, _ := json.Marshal(m.Args) // a list of texts
	status, message := "True", "stand-in is posting ready status"
	if time.Since(m.Seen) > 20*time.Second {
		status, message = "Unknown", "stand-in stopped posting node status"
	}
	return map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": m.Name, "labels": merged(m.Labels, m.Metadata.Labels),
			"annotations": merged(m.Metadata.Annotations, map[string]string{"k3s.io/node-args": string(args)})},
		"spec": map[string]any{"taints": m.Taints},
		"status": map[string]any{
			"addresses":  []any{map[string]any{"type": "InternalIP", "address": m.IP}},
			"conditions": []any{map[string]any{"type": "Ready", "status": status, "message": message}},
			"nodeInfo":   map[string]any{"kubeletVersion": "v0.0.0+standin"},
		},
	}
}
