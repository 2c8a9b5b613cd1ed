package firstboot

import (
	"context"
	"encoding/json"
	"fmt"
)

// unclaimed: what nobody claimed in the lost cluster, as its claim was deleted, is nobody's
// in the new one. Longhorn's restore takes the claimRef off every PersistentVolume
// (restorePersistentVolumes in its system_rollout_controller.go), so Kubernetes would give
// such a one, data and all, to the next claim of its class.

const volumesPath = "/api/v1/persistentvolumes"

// persistentVolume is one of Kubernetes.
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

// free says that the next claim may get it.
func (v persistentVolume) free() bool {
	return v.Spec.CSI.Driver == "driver.longhorn.io" && v.Spec.ClaimRef == nil && v.Status.Phase == "Available"
}

// broughtBack says that Longhorn's restore made it, or found it there.
func (v persistentVolume) broughtBack() bool {
	made, found := v.Metadata.Annotations["longhorn.io/last-system-restored"], v.Metadata.Annotations["longhorn.io/last-skipped-system-restored"]
	return made+found != ""
}

// reserve gives volumes that are free, and not wanted, to a claim that nobody has. Without
// a UID Kubernetes keeps one for that claim, and reclaims nothing. While claims are away, a
// person may be making others' volumes: theirs are left alone.
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
			"metadata": map[string]any{"resourceVersion": v.Metadata.ResourceVersion}, // nobody took it meanwhile
			"spec":     map[string]any{"claimRef": map[string]any{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": longhornSpace, "name": "unclaimed-" + v.Metadata.Name}},
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
