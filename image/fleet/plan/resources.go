package plan

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/objects"
	"github.com/going-mobile/imagebuilder/image/seed"
)

// Resources compares what a cluster is to run with its machines: with all sites, and with
// each of them lost.
type Resources struct {
	Rooms []Room `json:"rooms"`
	Work  []Work `json:"work"`
	Cases []Case `json:"cases"`
	// Disks are the disks for volumes, by site.
	Disks []Disks `json:"disks,omitempty"`
}

// Room is what a node offers to workloads.
type Room struct {
	Node   string `json:"node"`
	Site   string `json:"site"`
	CPU    int64  `json:"cpu"`    // thousandths of a processor
	Memory int64  `json:"memory"` // bytes
}

// Work is a workload.
type Work struct {
	Name   string `json:"name"`
	Pods   int    `json:"pods"` // 0 means one on every node of Rooms
	CPU    int64  `json:"cpu"`
	Memory int64  `json:"memory"` // the memory used, if that is more than the request
}

// Case is the cluster without the site Lost, "" for the whole cluster.
type Case struct {
	Lost   string `json:"lost,omitempty"`
	CPU    int64  `json:"cpu"` // requested
	Memory int64  `json:"memory"`
	Of     Room   `json:"of"` // the sum of what is left
	// Problem is what does not fit, and what to do; "" if everything fits.
	Problem string `json:"problem,omitempty"`
}

const mib = 1 << 20

// system is what k3s runs itself: by the requests in its manifests, traefik by its actual
// use.
func system(twice []string) []Work {
	pods := map[string]int{"coredns": 1, "traefik": 1}
	for _, addon := range twice {
		pods[addon] = 2
	}
	return []Work{{"CoreDNS", pods["coredns"], 100, 70 * mib}, {"metrics-server", 1, 100, 70 * mib}, {"traefik", pods["traefik"], 0, 100 * mib}}
}

// longhornMemory is the most that Longhorn's manager, instance manager, plugins and sidecars
// were seen to use on a node; its chart requests no memory.
const longhornMemory = 900 * mib

// MakeResources needs the size of every machine that may run workloads: agents, and servers
// without a taint against them. A missing size is an error.
func MakeResources(f *fleet.Fleet, workloads []objects.Demand, volumes []objects.Claim) (*Resources, error) {
	r := &Resources{Work: system(f.Twice()), Disks: disks(f, volumes)}
	var missing error
	for _, name := range f.Nodes.Names {
		n, err := f.Find(name)
		if err != nil {
			return nil, err
		}
		if !works(n.Role.In(), f.Taints(n)) {
			continue
		}
		if n.Machine.CPUs == 0 || n.Machine.MemoryGiB == 0 {
			missing = errors.Join(missing, fmt.Errorf("%s: field \"nodes.%s.machine\": is missing: how large it is, like {cpus: 4, memoryGiB: 16}", f.Place(name), name))
			continue
		}
		r.Rooms = append(r.Rooms, room(name, n, f.Cluster.Longhorn != nil && n.Role.In() == node.Agent))
	}
	if missing != nil {
		return nil, missing
	}
	if f.Cluster.GitOps != nil {
		workloads = append([]objects.Demand{seed.ArgoCD}, workloads...)
	}
	for _, d := range workloads {
		r.Work = append(r.Work, Work{d.Name, d.Pods, d.CPU, d.Memory})
	}
	for _, lost := range append([]string{""}, sitesOf(r.Rooms)...) {
		r.Cases = append(r.Cases, r.without(lost))
	}
	return r, nil
}

// works says whether pods without tolerations are scheduled onto a node.
func works(role node.Role, taints []string) bool {
	keeps := func(taint string) bool {
		return strings.HasSuffix(taint, ":NoSchedule") || strings.HasSuffix(taint, ":NoExecute")
	}
	return role == node.Agent || role == node.Server && !slices.ContainsFunc(taints, keeps)
}

// room is a machine's size minus what the system takes before any workload.
func room(name string, n fleet.Node, longhorn bool) Room {
	cpu, memory := int64(n.Machine.CPUs)*1000, int64(n.Machine.MemoryGiB)<<30
	taken := node.OverheadOf(n.Role.In(), memory)
	out := Room{Node: name, Site: n.Site, CPU: cpu - taken.CPU, Memory: memory - taken.Memory}
	if longhorn {
		out.CPU, out.Memory = out.CPU-cpu*seed.LonghornCPU/100, out.Memory-longhornMemory
	}
	return out
}

func sitesOf(rooms []Room) (names []string) {
	for _, r := range rooms {
		if !slices.Contains(names, r.Site) {
			names = append(names, r.Site)
		}
	}
	if len(names) < 2 { // no cluster is left without its only site
		return nil
	}
	return names
}

// without adds up what is left when a site is lost, and what all workloads request.
func (r *Resources) without(lost string) Case {
	c := Case{Lost: lost}
	var left []Room
	for _, room := range r.Rooms {
		if lost == "" || room.Site != lost {
			left = append(left, room)
			c.Of.CPU, c.Of.Memory = c.Of.CPU+room.CPU, c.Of.Memory+room.Memory
		}
	}
	for _, w := range r.Work {
		pods := int64(w.Pods)
		if w.Pods == 0 {
			pods = int64(len(left))
		}
		c.CPU, c.Memory = c.CPU+pods*w.CPU, c.Memory+pods*w.Memory
	}
	c.Problem = r.problem(c, left)
	return c
}

// problem compares the sums, and checks that each pod fits onto some node, as a pod cannot
// be split.
func (r *Resources) problem(c Case, left []Room) string {
	var all []string
	if c.Memory > c.Of.Memory {
		all = append(all, fmt.Sprintf("%s of memory is missing", gib(c.Memory-c.Of.Memory)))
	}
	if c.CPU > c.Of.CPU {
		all = append(all, fmt.Sprintf("%s processors are missing", cores(c.CPU-c.Of.CPU)))
	}
	for _, w := range r.Work {
		fits := func(room Room) bool { return w.CPU <= room.CPU && w.Memory <= room.Memory }
		if !slices.ContainsFunc(left, fits) {
			all = append(all, fmt.Sprintf("no node has room for a pod of %s (%s processors, %s)", w.Name, cores(w.CPU), gib(w.Memory)))
		}
	}
	return strings.Join(all, "; ")
}

func gib(n int64) string   { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }
func cores(n int64) string { return fmt.Sprintf("%.2f", float64(n)/1000) }

// Text writes the comparison for a terminal.
func (r *Resources) Text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "room for work, less k3s, the system and Longhorn\tCPUs\tmemory\n")
	for _, room := range r.Rooms {
		fmt.Fprintf(w, "  %s, %s\t%s\t%s\n", room.Node, room.Site, cores(room.CPU), gib(room.Memory))
	}
	fmt.Fprintf(w, "work\t\t\n")
	for _, work := range r.Work {
		fmt.Fprintf(w, "  %s%s\t%s\t%s\n", work.Name, times(work.Pods), cores(work.CPU), gib(work.Memory))
	}
	fmt.Fprintf(w, "does it fit?\t\t\n")
	for _, c := range r.Cases {
		fmt.Fprintf(w, "  %s\t%s of %s\t%s of %s\n", c.name(), cores(c.CPU), cores(c.Of.CPU), gib(c.Memory), gib(c.Of.Memory))
	}
	if len(r.Disks) > 0 {
		fmt.Fprintf(w, "volumes, of the %d %% of disks that Longhorn gives them\t\t\n", longhornDisk)
	}
	for _, d := range r.Disks {
		d.text(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, c := range r.Cases {
		if c.Problem != "" {
			if _, err := fmt.Fprintf(out, "\n! %s: %s\n  -> Give agents there more memory, keep work from servers by a taint and add an agent, or run less.\n", c.name(), c.Problem); err != nil {
				return err
			}
		}
	}
	for _, d := range r.Disks {
		if _, err := io.WriteString(out, d.words()); err != nil {
			return err
		}
	}
	return nil
}

// Fits says whether everything fits.
func (r *Resources) Fits() bool {
	return !slices.ContainsFunc(r.Cases, func(c Case) bool { return c.Problem != "" }) &&
		!slices.ContainsFunc(r.Disks, func(d Disks) bool { return d.Problem != "" })
}

func times(pods int) string {
	switch pods {
	case 0:
		return ", on every node"
	case 1:
		return ""
	}
	return fmt.Sprintf(", %d times", pods)
}

func (c Case) name() string {
	if c.Lost == "" {
		return "with all sites"
	}
	return "without " + c.Lost
}
