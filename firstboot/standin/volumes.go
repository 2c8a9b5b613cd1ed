//go:build linux

package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// PersistentVolumes are of no namespace and of a kind that every cluster has. A test makes
// them, and firstboot gives those that nobody claims to a claim.

const volumeKind = "PersistentVolume"

// volumes answers all, none as an empty list.
func (c *cluster) volumes(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(c.Objects)) {
		if strings.HasPrefix(key, volumeKind+" ") {
			all = append(all, c.Objects[key])
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"items": all})
}

// claimed merges a claimRef into a volume, if it is as it was when it was looked at.
func (c *cluster) claimed(w http.ResponseWriter, r *http.Request) {
	var p struct {
		Metadata struct{ ResourceVersion string }
		Spec     struct{ ClaimRef map[string]any }
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&p); err != nil || r.Header.Get("Content-Type") != "application/merge-patch+json" {
		http.Error(w, "the stand-in knows a merge patch of JSON", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.Objects[keyOf(volumeKind, "", r.PathValue("name"))]
	if v == nil {
		notFound(w, "persistentvolumes", r.PathValue("name"))
		return
	}
	meta, _ := v["metadata"].(map[string]any)
	if is, _ := meta["resourceVersion"].(string); is != p.Metadata.ResourceVersion {
		http.Error(w, "the object has been modified", http.StatusConflict)
		return
	}
	spec, _ := v["spec"].(map[string]any)
	if spec == nil {
		spec = map[string]any{}
	}
	spec["claimRef"], v["spec"] = p.Spec.ClaimRef, spec
	c.saved(w, v)
}
