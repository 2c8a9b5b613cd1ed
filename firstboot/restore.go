package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// restore: a new cluster in an old one's place brings its volumes back, by
// Longhorn's own restore of a system backup, before anything may make new ones
// of their names. Longhorn passes over claims that are there, and waits a day for
// a namespace that is not: it makes none.

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
	state, why, err := m.longhornState(ctx, "systemrestores/"+r.SystemBackup)
	switch {
	case errors.Is(err, ErrNoObject):
		return m.beginRestore(ctx)
	case err != nil:
		return problem("restore-waiting", r.SystemBackup, err.Error()).because(err)
	case state == restoreFailed:
		return problem("restore-failed", r.SystemBackup, why, r.SystemBackup)
	case state != restoreFinished:
		return problem("restore-running", r.SystemBackup, state)
	}
	if err := m.write(text644(restoredFile, r.SystemBackup+"\n")); err != nil {
		return err
	}
	return m.laySeed()
}

// beginRestore asks for it once Longhorn has seen the backup and has room.
func (m *machine) beginRestore(ctx context.Context) error {
	r := m.cfg.K3s.Seed.Restore
	if why := m.restoreWaits(ctx, r.SystemBackup); why != nil {
		return problem("restore-waiting", r.SystemBackup, why.Error()).because(why)
	}
	for _, name := range r.Namespaces {
		if err := m.apply(ctx, "/api/v1/namespaces/"+name, namespaceObject(name)); err != nil {
			return err
		}
	}
	if err := m.apply(ctx, LonghornAPI+"systemrestores/"+r.SystemBackup, restoreObject(r.SystemBackup)); err != nil {
		return err
	}
	return problem("restore-running", r.SystemBackup, "asked for")
}

// restoreWaits says what is missing yet, nil if nothing is.
func (m *machine) restoreWaits(ctx context.Context, backup string) error {
	state, _, err := m.longhornState(ctx, "systembackups/"+backup)
	switch {
	case errors.Is(err, ErrNoObject):
		return errors.New("no word of it: Longhorn does not run yet, or has not found it in the bucket")
	case err != nil:
		return err
	case state != backupReady:
		return fmt.Errorf("its state in Longhorn is %q", state)
	}
	return m.longhornRoom(ctx)
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

// restoreObject follows longhorn.io/v1beta2. It bears the backup's name, so that
// there is one of it.
func restoreObject(backup string) map[string]any {
	return map[string]any{
		"apiVersion": "longhorn.io/v1beta2", "kind": "SystemRestore",
		"metadata": map[string]any{"name": backup, "namespace": longhornSpace},
		"spec":     map[string]any{"systemBackup": backup},
	}
}
