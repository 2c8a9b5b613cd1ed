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

// PersistentVolumes have no namespace. A test creates them; firstboot sets the claimRef of those
// without a claim.

const volumeKind = "PersistentVolume"

// volumes answers with all volumes, an empty list if there are none.
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

// claimed sets the claimRef of a volume, unless its resourceVersion has changed.
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
