package resurrect

import (
	"fmt"
	"maps"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/backup"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/component"
)

// Runbook lists all steps in order, those of this command and those of people.
func (r *Rising) Runbook() (steps []string, err error) {
	if r.headscale != nil {
		if steps, err = r.controlSteps(); err != nil {
			return nil, err
		}
	}
	steps = append(steps, r.tailnetSteps()...)
	creates := fmt.Sprintf("write the card of %s, which creates the cluster, with the authorities and tokens that it had", r.Creator())
	steps = append(steps, creates, "write the cards of "+list(r.lost()[1:])+", and switch all on")
	if b := r.fleet.Cluster.K3s.Backup; b != nil {
		steps = append(steps, "the lost cluster's snapshots of etcd stay in the bucket "+b.Bucket+": the new one puts its own into another folder")
	}
	if r.volumes == nil {
		return append(steps, "it begins without volumes: whatever asks for one gets an empty one"), nil
	}
	return append(steps, r.volumeSteps()...), nil
}

func (r *Rising) volumeSteps() []string {
	all := slices.Sorted(maps.Keys(r.volumes.Claims))
	back := fmt.Sprintf("%s waits for a node with a disk, then lets Longhorn bring back its system backup %s of %s: %d volumes (%s)",
		r.Creator(), r.volumes.Name, day(r.volumes.Created), len(all), list(all))
	empty := slices.DeleteFunc(all, func(claim string) bool { return r.volumes.Claims[claim] != "" })
	if len(empty) > 0 {
		back += "; empty, as they were never backed up: " + list(empty)
	}
	return []string{back, "when all are back, and no earlier, Argo CD begins with what Git has"}
}

// controlSteps restore Headscale, and with its database every node's place in the tailnet.
func (r *Rising) controlSteps() ([]string, error) {
	vps := r.fleet.Control()
	from, err := r.headscaleCopy()
	if err != nil {
		return nil, err
	}
	return []string{
		fmt.Sprintf("Headscale does not answer (%v). If %s is lost: imagebuilder flash --node %s, and switch it on. %s", r.headscale, vps, vps, from),
		"imagebuilder headscale init, and this command again",
	}, nil
}

func (r *Rising) headscaleCopy() (string, error) {
	bucket, err := r.fleet.HeadscaleBucket()
	if err != nil {
		return "", err
	}
	const none = "It begins with an empty tailnet: people's devices have to join again"
	if bucket == nil {
		return none + " (cluster: headscale: server: backup: names no bucket)", nil
	}
	store := backup.Bucket(bucket)
	newest, err := backup.Newest(store)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", store, err)
	case newest.IsZero():
		return fmt.Sprintf("%s (%s has no copy)", none, store), nil
	}
	if err := opens(store); err != nil {
		return fmt.Sprintf("It does not bring back its database of %s from %s as it is: %v", day(newest), store, err), nil
	}
	return fmt.Sprintf("It brings back its database of %s from %s: people's devices keep their addresses", day(newest), store), nil
}

// opens says why the Headscale in present images cannot open the newest copy of the
// database, nil if it can.
func opens(store backup.Store) error {
	program, err := component.Find("headscale")
	if err != nil {
		return err
	}
	used, err := backup.UsedBy(store)
	if err != nil {
		return err
	}
	return backup.Opens(program.Releases[0].Version, used)
}

func (r *Rising) tailnetSteps() (steps []string) {
	for _, m := range r.members {
		steps = append(steps, fmt.Sprintf("delete %s (number %s) from the tailnet", m.GivenName, m.ID))
	}
	if name := r.Witness(); name != "" {
		steps = append(steps, fmt.Sprintf("on %s, which lives: remove the lost cluster's data, which it votes for", name))
	}
	return steps
}

// Advice is what the people who insert the cards have to know.
func (r *Rising) Advice() (all []string) {
	for _, name := range r.lost() {
		n, _ := r.fleet.Nodes.Get(name)
		for _, d := range []node.Disk{n.DataDisk, n.Longhorn.Disk} {
			if d != (node.Disk{}) {
				all = append(all, fmt.Sprintf("%s: its disk %s must be an empty one", name, d))
			}
		}
	}
	return all
}
