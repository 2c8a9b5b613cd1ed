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

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// restore: a new cluster in an old one's place brings its volumes back, by
// Longhorn's own restore of a system backup, before anything may make new ones
// of their names. Longhorn passes over claims that are there, and waits a day for
// a namespace that is not: it makes none. It passes over what it cannot make, too,
// with an event, and calls the restore completed (restoreVolumes in Longhorn's
// system_rollout_controller.go).

const (
	restoredFile = stateDir + "/restored" // which backup

	longhornSpace = "longhorn-system"
)

// LonghornAPI is where Longhorn's objects are, by their kinds in the plural.
const LonghornAPI = "/apis/longhorn.io/v1beta2/namespaces/" + longhornSpace + "/"

// States of Longhorn 1.12's objects (k8s/pkg/apis/longhorn/v1beta2). What is wrong
// is said by a condition of that state's name.
const (
	backupReady     = "Ready"
	restoreFinished = "Completed"
	restoreFailed   = "Error"
	backupCompleted = "Completed" // of a volume
)

// restored says whether all is back that was to come, if anything was.
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

// beginRestore asks for it once Longhorn has seen the backup and has room.
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
	if err := m.apply(ctx, LonghornAPI+"systemrestores/"+restoreName(r.SystemBackup), restoreObject(r.SystemBackup)); err != nil {
		return err
	}
	return problem("restore-running", r.SystemBackup, "asked for")
}

// restoreWaits says what is missing yet, nil if nothing is.
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

// backupsListed wants Longhorn to know what each volume is made of. It reads the
// bucket bit by bit, and a volume whose Backup it does not know yet is passed over.
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

// claimsBack wants every claim to have its volume. Who needs one no more makes an
// empty claim of its name.
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

// claim is a PersistentVolumeClaim, an empty one where there is none.
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

// namespaces are those of the claims, which Longhorn waits for.
func namespaces(r *node.Restore) []string {
	all := slices.Clone(r.Namespaces)
	for claim := range r.Claims {
		space, _, _ := strings.Cut(claim, "/")
		all = append(all, space)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// longhornState reads what most of Longhorn's objects say of themselves, and of
// their conditions the one that is an error.
func (m *machine) longhornState(ctx context.Context, object string) (state, why string, err error) {
	out, err := m.Net.API(ctx, adminConf, LonghornAPI+object)
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

// longhornRoom wants a disk: a restore that finds none fails after a day.
func (m *machine) longhornRoom(ctx context.Context) error {
	out, err := m.Net.API(ctx, adminConf, LonghornAPI+"nodes")
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

// restoreName is made of the backup's name, so that there is one of it, and shorter:
// Longhorn's own backups have 45 characters (RecurringJob system-backup), and its Job
// longhorn-system-rollout-NAME may have 63.
func restoreName(backup string) string {
	sum := sha256.Sum256([]byte(backup))
	return fmt.Sprintf("r-%x", sum[:4])
}

// restoreObject follows longhorn.io/v1beta2.
func restoreObject(backup string) map[string]any {
	return map[string]any{
		"apiVersion": "longhorn.io/v1beta2", "kind": "SystemRestore",
		"metadata": map[string]any{"name": restoreName(backup), "namespace": longhornSpace},
		"spec":     map[string]any{"systemBackup": backup},
	}
}
