package firstboot

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// restore: a new cluster that takes the place of an old one gets its volumes back, before
// anything may make new ones of the same names. It uses Longhorn's own restore of a
// system backup. That restore skips claims that already exist. It waits up to a day for a
// namespace that is missing, and makes none itself. What it cannot make it also skips,
// with an event, and still calls the restore completed (restoreVolumes in Longhorn's
// system_rollout_controller.go).

const restoredFile = stateDir + "/restored" // names the backup that is back

// States of Longhorn 1.12's objects (k8s/pkg/apis/longhorn/v1beta2). A condition whose
// type is the name of the error state says what is wrong.
const (
	backupReady     = "Ready"
	restoreFinished = "Completed"
	restoreFailed   = "Error"
	backupCompleted = "Completed" // the state of a volume's backup
)

// restored reports whether everything is back that was to be restored, if anything was.
func (m *machine) restored() (bool, error) {
	r := m.cfg.K3s.Seed.Restore
	if r == nil {
		return true, nil
	}
	return m.matches(text644(restoredFile, r.SystemBackup+"\n"))
}

func (m *machine) restoreDone(context.Context) (bool, error) { return m.restored() }

func (m *machine) restoreDo(ctx context.Context) error {
	r := m.cfg.K3s.Seed.Restore
	name := restoreName(r.SystemBackup)
	state, why, err := m.longhornState(ctx, "systemrestores/"+name)
	switch {
	case errors.Is(err, ErrNoObject):
		return m.beginRestore(ctx)
	case err != nil:
		return problem("restore-waiting", r.SystemBackup, err.Error()).because(err)
	case state == restoreFailed:
		return problem("restore-failed", r.SystemBackup, why, name)
	case state != restoreFinished:
		return problem("restore-running", r.SystemBackup, state)
	}
	if err := m.claimsBack(ctx, r); err != nil {
		return err
	}
	if err := m.write(text644(restoredFile, r.SystemBackup+"\n")); err != nil {
		return err
	}
	return m.laySeed()
}

// beginRestore asks for the restore once Longhorn has found the backup and has room.
func (m *machine) beginRestore(ctx context.Context) error {
	r := m.cfg.K3s.Seed.Restore
	if why := m.restoreWaits(ctx, r); why != nil {
		return problem("restore-waiting", r.SystemBackup, why.Error()).because(why)
	}
	for _, name := range namespaces(r) {
		if err := m.apply(ctx, "/api/v1/namespaces/"+name, namespaceObject(name)); err != nil {
			return err
		}
	}
	if err := m.apply(ctx, contract.LonghornAPI+"systemrestores/"+restoreName(r.SystemBackup), restoreObject(r.SystemBackup)); err != nil {
		return err
	}
	return problem("restore-running", r.SystemBackup, "asked for")
}

// restoreWaits returns what is still missing, nil if nothing is.
func (m *machine) restoreWaits(ctx context.Context, r *node.Restore) error {
	state, _, err := m.longhornState(ctx, "systembackups/"+r.SystemBackup)
	switch {
	case errors.Is(err, ErrNoObject):
		return errors.New("no word of it: Longhorn does not run yet, or has not found it in the bucket")
	case err != nil:
		return err
	case state != backupReady:
		return fmt.Errorf("its state in Longhorn is %q", state)
	}
	if err := m.backupsListed(ctx, r); err != nil {
		return err
	}
	return m.longhornRoom(ctx)
}

// backupsListed wants Longhorn to know the backup of each volume. Longhorn reads the
// bucket bit by bit, and its restore skips a volume whose Backup it does not know yet.
func (m *machine) backupsListed(ctx context.Context, r *node.Restore) error {
	for _, claim := range slices.Sorted(maps.Keys(r.Claims)) {
		backup := r.Claims[claim]
		if backup == "" {
			continue
		}
		state, _, err := m.longhornState(ctx, "backups/"+backup)
		switch {
		case errors.Is(err, ErrNoObject):
			return fmt.Errorf("the backup %s of %s is not listed yet: Longhorn has not found it in the bucket", backup, claim)
		case err != nil:
			return err
		case state != backupCompleted:
			return fmt.Errorf("the state in Longhorn of %s, the backup of %s, is %q", backup, claim, state)
		}
	}
	return nil
}

// claimsBack wants every claim to have its volume. An owner who no longer needs one makes
// an empty claim of its name.
func (m *machine) claimsBack(ctx context.Context, r *node.Restore) error {
	var away, soon []string
	wanted := map[string]bool{} // volumes, by claims
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		c, err := m.claim(ctx, name)
		wanted[c.Spec.VolumeName] = true
		switch {
		case err != nil:
			return problem("restore-waiting", r.SystemBackup, err.Error()).because(err)
		case c.Status.Phase == "Pending":
			soon = append(soon, name)
		case c.Status.Phase != "Bound":
			away = append(away, name)
		}
	}
	if len(away) == 0 && len(soon) > 0 {
		return problem("restore-running", r.SystemBackup, "Pending: "+strings.Join(soon, ", "))
	}
	if err := m.reserve(ctx, wanted, len(away) > 0); err != nil {
		return problem("restore-waiting", r.SystemBackup, err.Error()).because(err)
	}
	if len(away) > 0 {
		return problem("restore-partial", r.SystemBackup, strings.Join(away, ", "), restoreName(r.SystemBackup))
	}
	return nil
}

// claim is a PersistentVolumeClaim, empty if there is no such claim.
type claim struct {
	Spec   struct{ VolumeName string }
	Status struct{ Phase string }
}

func (m *machine) claim(ctx context.Context, name string) (c claim, err error) {
	space, name, _ := strings.Cut(name, "/")
	out, err := m.Net.API(ctx, adminConf, "/api/v1/namespaces/"+space+"/persistentvolumeclaims/"+name)
	if errors.Is(err, ErrNoObject) {
		return claim{}, nil
	}
	if err == nil {
		err = json.Unmarshal(out, &c)
	}
	return c, err
}

// namespaces returns those that the restore waits for, the claims' among them.
func namespaces(r *node.Restore) []string {
	all := slices.Clone(r.Namespaces)
	for claim := range r.Claims {
		space, _, _ := strings.Cut(claim, "/")
		all = append(all, space)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// longhornState returns the state that most of Longhorn's objects have, and the message
// of the condition that is an error.
func (m *machine) longhornState(ctx context.Context, object string) (state, why string, err error) {
	out, err := m.Net.API(ctx, adminConf, contract.LonghornAPI+object)
	if err != nil {
		return "", "", err
	}
	var o struct {
		Status struct {
			State      string
			Conditions []struct{ Type, Message string }
		}
	}
	if err := json.Unmarshal(out, &o); err != nil {
		return "", "", fmt.Errorf("%s: %w", object, err)
	}
	for _, c := range o.Status.Conditions {
		if c.Type == restoreFailed {
			why = c.Message
		}
	}
	return o.Status.State, why, nil
}

// longhornRoom wants a disk for volumes: a restore that finds none fails after a day.
func (m *machine) longhornRoom(ctx context.Context) error {
	out, err := m.Net.API(ctx, adminConf, contract.LonghornAPI+"nodes")
	if err != nil {
		return err
	}
	var all struct {
		Items []struct {
			Spec struct {
				Disks map[string]struct{ AllowScheduling bool }
			}
		}
	}
	if err := json.Unmarshal(out, &all); err != nil {
		return err
	}
	for _, n := range all.Items {
		for _, d := range n.Spec.Disks {
			if d.AllowScheduling {
				return nil
			}
		}
	}
	return errors.New("no node with a disk for volumes has joined yet")
}

// restoreName is derived from the backup's name, so that there is one restore per backup.
// It is shorter: Longhorn's own backups have names of 45 characters (RecurringJob
// system-backup), and its Job longhorn-system-rollout-NAME may have 63.
func restoreName(backup string) string {
	sum := sha256.Sum256([]byte(backup))
	return fmt.Sprintf("r-%x", sum[:4])
}

// restoreObject follows longhorn.io/v1beta2.
func restoreObject(backup string) map[string]any {
	return map[string]any{
		"apiVersion": "longhorn.io/v1beta2", "kind": "SystemRestore",
		"metadata": map[string]any{"name": restoreName(backup), "namespace": contract.LonghornSpace},
		"spec":     map[string]any{"systemBackup": backup},
	}
}
