package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// storage reports Longhorn's own view of its disks, volumes and backups. A cluster
// without Longhorn has none.
func (p *patient) storage(ctx context.Context) {
	const group, check = "Longhorn (cluster)", "there are disks"
	nodes, ok := lookFor[machine](ctx, p, group, check, contract.LonghornAPI+"nodes")
	if !ok {
		return
	}
	sites := map[string]bool{}
	for _, n := range nodes {
		for _, d := range n.Spec.Disks {
			if d.AllowScheduling {
				sites[n.Status.Zone] = true
			}
		}
	}
	p.expect(len(sites) > 0, Warning, group, check, "no node has one: label those with room node.longhorn.io/create-default-disk=true")
	p.disks(ctx, group, nodes)
	volumes, ok := lookFor[volume](ctx, p, group, "volumes are whole", contract.LonghornAPI+"volumes")
	if !ok {
		return
	}
	p.volumes(group, volumes)
	p.engines(ctx, group, volumes)
	p.backups(ctx, volumes)
}

// machine is a node, as Longhorn knows it.
type machine struct {
	Metadata meta
	Spec     struct {
		Disks map[string]struct{ AllowScheduling bool }
	}
	Status struct {
		Zone       string
		DiskStatus map[string]disk
	}
}

type disk struct {
	DiskUUID   string
	Conditions []condition
}

type condition struct{ Type, Status, Reason, Message string }

// lacks returns a condition if it is known not to hold.
func (d disk) lacks(name string) (condition, bool) {
	i := slices.IndexFunc(d.Conditions, func(c condition) bool { return c.Type == name && c.Status == "False" })
	if i < 0 {
		return condition{}, false
	}
	return d.Conditions[i], true
}

// otherDisk is why Longhorn uses no disk that is not the one it knows by its name, as the
// empty one of a node that took a dead one's place (longhorn-manager, DiskConditionReason).
const otherDisk = "DiskFilesystemChanged"

// disks are told of that Longhorn does not use, or puts no further replica on, as it does when
// less than a quarter of one is free (storageMinimalAvailablePercentage).
func (p *patient) disks(ctx context.Context, group string, all []machine) {
	var bad []string
	for _, n := range all {
		for _, name := range slices.Sorted(maps.Keys(n.Status.DiskStatus)) {
			d, where := n.Status.DiskStatus[name], name+" on "+n.Metadata.Name
			if c, ok := d.lacks("Ready"); ok {
				bad = append(bad, where+": "+unused(n.Metadata.Name, d, c))
			} else if c, ok := d.lacks("Schedulable"); ok && n.Spec.Disks[name].AllowScheduling {
				bad = append(bad, where+" takes no more replicas: "+strings.TrimSpace(c.Message)+p.orphans(ctx, n.Metadata.Name))
			}
		}
	}
	p.expect(len(bad) == 0, Warning, group, "disks can be used", strings.Join(bad, "; "))
}

func unused(node string, d disk, c condition) string {
	why := strings.TrimSpace(c.Message)
	if c.Reason == otherDisk {
		why += fmt.Sprintf(". Connect the disk that it knows or, where that is lost with what only it had, have it forgotten (kubectl -n longhorn-system edit nodes.longhorn.io %s): "+
			"set its allowScheduling to false, save, delete its replicas (kubectl -n longhorn-system delete replicas.longhorn.io -l longhorndiskuuid=%s), and then remove it from disks:", node, d.DiskUUID)
	}
	return why
}

// orphans says how to make room on a node that has data which are no volume's any more.
func (p *patient) orphans(ctx context.Context, node string) string {
	all, err := list[struct{}](ctx, p, contract.LonghornAPI+"orphans?labelSelector=longhornnode%3D"+node)
	if err != nil || len(all) == 0 {
		return ""
	}
	return fmt.Sprintf(". %d directories there belong to no volume any more: kubectl -n longhorn-system delete orphans.longhorn.io -l longhornnode=%s", len(all), node)
}

type volume struct {
	Metadata meta
	Status   struct {
		State, Robustness, LastBackupAt, CurrentImage string

		KubernetesStatus struct{ Namespace, PVCName, PVStatus string }
	}
}

// name returns the name of the claim, which is the one that the owner knows.
func (v volume) name() string {
	if k := v.Status.KubernetesStatus; k.PVCName != "" {
		return k.Namespace + "/" + k.PVCName
	}
	return v.Metadata.Name
}

func (p *patient) volumes(group string, all []volume) {
	by := map[string][]string{}
	for _, v := range all {
		by[v.Status.Robustness] = append(by[v.Status.Robustness], v.name())
	}
	p.expect(len(by["faulted"]) == 0, Warning, group, "volumes can be used", "no replica is left of "+strings.Join(by["faulted"], ", "))
	p.expect(len(by["degraded"]) == 0, Warning, group, "volumes are whole", "a replica is missing of "+strings.Join(by["degraded"], ", "))
}

// engines names volumes that have the engine of an older Longhorn. They are to follow by
// themselves; a later Longhorn refuses engines that are too old (longhorn.io, "Upgrading
// Longhorn Engine").
func (p *patient) engines(ctx context.Context, group string, all []volume) {
	const check = "volumes have Longhorn's engine"
	type setting struct{ Value string }
	found, ok := lookFor[setting](ctx, p, group, check, contract.LonghornAPI+"settings?fieldSelector=metadata.name%3Ddefault-engine-image")
	if !ok || len(found) != 1 {
		return
	}
	var older []string
	for _, v := range all {
		if image := v.Status.CurrentImage; image != "" && image != found[0].Value {
			older = append(older, fmt.Sprintf("%s has %s", v.name(), image))
		}
	}
	p.expect(len(older) == 0, Warning, group, check, fmt.Sprintf("they get %s one by one, where they are whole, and no newer Longhorn may come before: %s", found[0].Value, strings.Join(older, ", ")))
}

// backups checks the bucket and, if there is one, the last backup of every volume.
func (p *patient) backups(ctx context.Context, volumes []volume) {
	const group, check = "Backups", "volumes' bucket answers"
	type target struct {
		Spec   struct{ BackupTargetURL string }
		Status struct {
			Available  bool
			Conditions []struct{ Type, Message string }
		}
	}
	all, ok := lookFor[target](ctx, p, group, check, contract.LonghornAPI+"backuptargets")
	if !ok {
		return
	}
	wanted := false
	for _, t := range all {
		if t.Spec.BackupTargetURL == "" {
			continue
		}
		wanted = true
		why := "Longhorn cannot reach " + t.Spec.BackupTargetURL
		for _, c := range t.Status.Conditions {
			if c.Message != "" {
				why += ": " + c.Message
			}
		}
		p.expect(t.Status.Available, Warning, group, check, why)
	}
	if wanted {
		p.lastBackups(group, volumes)
		p.systemBackups(ctx, group)
	}
}

// systemBackups checks the backups that say to which claims the volumes' backups belong:
// without one, a lost cluster's volumes cannot be brought back. A failed one stays in the
// list, and is reported until a later one has succeeded (longhorn.io, "Longhorn System
// Backup", State).
func (p *patient) systemBackups(ctx context.Context, group string) {
	const check = "the system's newest backup"
	type backup struct {
		Metadata meta
		Status   struct {
			State      string
			CreatedAt  time.Time
			Conditions []struct{ Type, Message string }
		}
	}
	all, ok := lookFor[backup](ctx, p, group, check, contract.LonghornAPI+"systembackups")
	if !ok {
		return
	}
	var newest time.Time
	for _, b := range all {
		if b.Status.State == "Ready" && b.Status.CreatedAt.After(newest) {
			newest = b.Status.CreatedAt
		}
	}
	var failed []string
	for _, b := range all {
		if b.Status.State != "Error" || b.Metadata.CreationTimestamp.Before(newest) {
			continue
		}
		why := b.Metadata.Name
		for _, c := range b.Status.Conditions {
			if c.Type == "Error" && c.Message != "" {
				why += " (" + c.Message + ")"
			}
		}
		failed = append(failed, why)
	}
	p.age(group, check, newest, p.born(ctx, contract.LonghornSpace), lateBackup, "in the bucket")
	p.expect(len(failed) == 0, Warning, group, "the system's backups succeed", "failed since the last good one: "+strings.Join(failed, ", "))
}

// lastBackups skips volumes that nobody claims any more, which stay but are not backed
// up (after a resurrection, too: firstboot's reserve), and volumes that are too new to have a
// backup. One that is attached is backed up every night, also where nothing was written
// (longhorn#3128).
func (p *patient) lastBackups(group string, all []volume) {
	var late []string
	for _, v := range all {
		if slices.Contains([]string{"Released", "Available"}, v.Status.KubernetesStatus.PVStatus) {
			continue
		}
		why := ""
		if v.Status.State == "detached" {
			why = " (it is not attached: Longhorn backs up what is, alone)"
		}
		last, err := time.Parse(time.RFC3339, v.Status.LastBackupAt)
		switch {
		case p.Clock.Now().Sub(v.Metadata.CreationTimestamp) <= lateBackup:
		case err != nil:
			late = append(late, v.name()+" has none"+why)
		case p.Clock.Now().Sub(last) > lateBackup:
			late = append(late, fmt.Sprintf("%s is %d hours old%s", v.name(), int(p.Clock.Now().Sub(last).Hours()), why))
		}
	}
	p.expect(len(late) == 0, Warning, group, "volumes' newest backups", strings.Join(late, ", "))
}
