package firstboot

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// A PersistentVolume whose claim was deleted in the lost cluster must not be bound in the new
// one. Longhorn's restore removes the claimRef of every PersistentVolume
// (restorePersistentVolumes in its system_rollout_controller.go), so Kubernetes would give
// such a volume, with its old data, to the next claim of its class.

const volumesPath = "/api/v1/persistentvolumes"

// persistentVolume has the fields of a PersistentVolume that are read here.
type persistentVolume struct {
	Metadata struct {
		Name, ResourceVersion string
		Annotations           map[string]string
	}
	Spec struct {
		CSI      struct{ Driver string }
		ClaimRef *struct{}
	}
	Status struct{ Phase string }
}

// free reports whether Kubernetes may bind the volume, one of Longhorn's, to the next claim.
func (v persistentVolume) free() bool {
	return v.Spec.CSI.Driver == "driver.longhorn.io" && v.Spec.ClaimRef == nil && v.Status.Phase == "Available"
}

// broughtBack reports whether Longhorn's restore created the volume, or found it there.
func (v persistentVolume) broughtBack() bool {
	made, found := v.Metadata.Annotations["longhorn.io/last-system-restored"], v.Metadata.Annotations["longhorn.io/last-skipped-system-restored"]
	return made+found != ""
}

// reserve binds volumes that are free, and not in wanted, to a claim that does not exist.
// Without a UID in its claimRef, Kubernetes keeps the volume for that claim, and does not
// reclaim it. While claims are missing (away), a person may be creating volumes for them, so
// only volumes from the restore are reserved.
func (m *machine) reserve(ctx context.Context, wanted map[string]bool, away bool) error {
	out, err := m.Net.API(ctx, adminConf, volumesPath)
	if err != nil {
		return err
	}
	var all struct{ Items []persistentVolume }
	if err := json.Unmarshal(out, &all); err != nil {
		return fmt.Errorf("%s: %w", volumesPath, err)
	}
	for _, v := range all.Items {
		if !v.free() || wanted[v.Metadata.Name] || away && !v.broughtBack() {
			continue
		}
		text, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": v.Metadata.ResourceVersion}, // a conflict if it was bound meanwhile
			"spec":     map[string]any{"claimRef": map[string]any{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": contract.LonghornSpace, "name": "unclaimed-" + v.Metadata.Name}},
		})
		if err != nil {
			return err
		}
		if err := m.Net.Patch(ctx, adminConf, volumesPath+"/"+v.Metadata.Name, text); err != nil {
			return fmt.Errorf("the volume %s, which nobody claimed: %w", v.Metadata.Name, err)
		}
	}
	return nil
}
