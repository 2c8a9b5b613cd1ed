package plan

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/objects"
)

// longhornDisk is the part of a disk that Longhorn uses for volumes, in percent:
// storageReservedPercentageForDefaultDisk keeps its default of 30.
const longhornDisk = 70

// fullDisk is the use of Longhorn's room, in percent, from which a site gets a note.
// Snapshots take room, too: they keep blocks that were overwritten since, and do not count
// towards a volume's size (image/seed: one an hour, six of which are kept, and the last
// backup's).
const fullDisk = 60

// Disks are the disks of one site's agents, for volumes.
type Disks struct {
	Site string `json:"site"`
	// Asked is the most that replicas take there when all volumes are full, in bytes.
	Asked int64 `json:"asked"`
	// Room is what Longhorn can use there, in bytes; 0 if a machine's diskGiB is not known.
	Room int64 `json:"room,omitempty"`
	// Problem is what does not fit, and what to do; "" if everything fits.
	Problem string `json:"problem,omitempty"`
	// Note says that everything fits, but leaves little room for snapshots.
	Note string `json:"note,omitempty"`

	each []int64 // Longhorn's room on each disk, in bytes, largest first
}

// disks checks the worst case. Replicas of a volume are placed at different sites, or on
// different agents if there is only one site. If there are fewer replicas than sites,
// replicas that are made while only one site is up all come to that site. So as many sites
// as there are replicas must be able to hold all volumes, each volume whole on one disk.
func disks(f *fleet.Fleet, volumes []objects.Claim) []Disks {
	if f.Cluster.Longhorn == nil || len(volumes) == 0 {
		return nil
	}
	all := sitesWithDisks(f)
	replicas, copies := f.Cluster.Longhorn.Replicas, 1
	if len(all) == 1 {
		replicas, copies = 1, replicas
	}
	able := 0
	for i := range all {
		all[i].judge(volumes, copies)
		if all[i].Problem == "" {
			able++
		}
	}
	for i := range all {
		if able >= replicas {
			all[i].Problem = ""
		}
	}
	return all
}

// sitesWithDisks are the sites of the agents, with their disks.
func sitesWithDisks(f *fleet.Fleet) (all []Disks) {
	known := map[string]bool{}
	for _, name := range f.Nodes.Names {
		n, _ := f.Nodes.Get(name)
		if n.Role.In() != node.Agent {
			continue
		}
		i := slices.IndexFunc(all, func(d Disks) bool { return d.Site == n.Site })
		if i < 0 {
			i, known[n.Site] = len(all), true
			all = append(all, Disks{Site: n.Site})
		}
		room := int64(n.Machine.DiskGiB) << 30 * longhornDisk / 100
		all[i].Room, all[i].each = all[i].Room+room, append(all[i].each, room)
		known[n.Site] = known[n.Site] && room > 0
	}
	for i := range all {
		if !known[all[i].Site] {
			all[i].Room, all[i].each = 0, nil
		}
		slices.SortFunc(all[i].each, func(a, b int64) int { return cmp.Compare(b, a) })
	}
	return all
}

// judge checks whether a site can hold that many copies of all volumes, with no two copies
// of a volume on one disk.
func (d *Disks) judge(volumes []objects.Claim, copies int) {
	var tooLarge []string
	for _, v := range volumes {
		d.Asked += v.Size * int64(copies)
		if d.Room > 0 && (len(d.each) < copies || v.Size > d.each[copies-1]) {
			tooLarge = append(tooLarge, fmt.Sprintf("%s (%s)", v.Name, gib(v.Size)))
		}
	}
	switch {
	case d.Room == 0:
	case len(tooLarge) > 0:
		d.Problem = "no disk holds " + strings.Join(tooLarge, ", ")
		if copies > 1 {
			d.Problem = fmt.Sprintf("no %d disks hold %s", copies, strings.Join(tooLarge, ", "))
		}
	case d.Asked > d.Room:
		d.Problem = fmt.Sprintf("%s is missing on disks for volumes", gib(d.Asked-d.Room))
	case d.Asked > d.Room*fullDisk/100:
		d.Note = fmt.Sprintf("full volumes leave %s to their snapshots, which keep what is overwritten", gib(d.Room-d.Asked))
	}
}

// text writes the site's line of the table.
func (d Disks) text(w io.Writer) {
	room := "; of how much is not known (machine: {diskGiB: …})"
	if d.Room > 0 {
		room = " of " + gib(d.Room)
	}
	fmt.Fprintf(w, "  %s\t\t%s%s\n", d.Site, gib(d.Asked), room)
}

// words are the problem or note below the table.
func (d Disks) words() string {
	switch {
	case d.Problem != "":
		return fmt.Sprintf("\n! at %s: %s\n  -> Give agents there larger disks, or ask for smaller volumes.\n", d.Site, d.Problem)
	case d.Note != "":
		return fmt.Sprintf("\nnote: at %s: %s\n", d.Site, d.Note)
	}
	return ""
}
