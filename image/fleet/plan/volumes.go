package plan

import (
	"fmt"
	"io"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// longhornDisk is the part of a disk that Longhorn gives to volumes, in hundredths
// (storageReservedPercentageForDefaultDisk, which these values leave at 30).
const longhornDisk = 70

// Disks are those of a site, for volumes.
type Disks struct {
	Site string `json:"site"`
	// Asked is what replicas take there when volumes are full, in bytes.
	Asked int64 `json:"asked"`
	// Room is what Longhorn has there, 0 where a machine's diskGiB is not known.
	Room int64 `json:"room,omitempty"`
	// Problem is what does not fit, and what to do; "" for nothing.
	Problem string `json:"problem,omitempty"`
}

// disks shares volumes out: replicas of one keep away from each other, at sites, or
// at the agents of the one site that there is.
func disks(f *fleet.Fleet, volumes int64) (all []Disks) {
	if f.Cluster.Longhorn == nil || volumes == 0 {
		return nil
	}
	at, known := map[string]int{}, map[string]bool{}
	for _, name := range f.Nodes.Names {
		n, _ := f.Nodes.Get(name)
		if n.Role.In() != node.Agent {
			continue
		}
		i, ok := at[n.Site]
		if !ok {
			i = len(all)
			at[n.Site], known[n.Site] = i, true
			all = append(all, Disks{Site: n.Site})
		}
		all[i].Room += int64(n.Machine.DiskGiB) << 30 * longhornDisk / 100
		known[n.Site] = known[n.Site] && n.Machine.DiskGiB > 0
	}
	replicas := int64(f.Cluster.Longhorn.Replicas)
	for i := range all {
		d := &all[i]
		d.Asked = volumes * replicas / int64(len(all))
		if !known[d.Site] {
			d.Room = 0
		}
		if d.Room > 0 && d.Asked > d.Room {
			d.Problem = fmt.Sprintf("%s is missing on disks for volumes", gib(d.Asked-d.Room))
		}
	}
	return all
}

// text writes what stands in the table.
func (d Disks) text(w io.Writer) {
	room := "; of how much is not known (machine: {diskGiB: …})"
	if d.Room > 0 {
		room = " of " + gib(d.Room)
	}
	fmt.Fprintf(w, "  %s\t\t%s%s\n", d.Site, gib(d.Asked), room)
}
