// Package plan shows what a fleet will be before a card is written: sites and nodes as a
// diagram, what each node will be told, and warnings about what operators of such clusters
// have regretted.
//
// It works from fleet.yaml, the boards and the overlays alone. It refuses nothing that
// images could be built from: every warning says what to do about it.
package plan

import (
	"cmp"
	"io/fs"
	"maps"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// Plan is the planned fleet.
type Plan struct {
	Cluster   string    `json:"cluster"`
	Headscale string    `json:"headscale"`
	Sites     []Site    `json:"sites"`
	Carriers  []Carrier `json:"carriers"`
	// Names are the applications' names, LeadTo the nodes that accept requests for them.
	Names    []string  `json:"names"`
	LeadTo   []string  `json:"namesLeadTo"`
	Warnings []Warning `json:"warnings"`
}

// Site is a place and its nodes, servers first.
type Site struct {
	Name     string   `json:"name"`
	Timezone string   `json:"timezone,omitempty"`
	LAN      []string `json:"lan,omitempty"`
	Nodes    []Node   `json:"nodes"`
}

// Node is what one machine will be told, without its secrets.
type Node struct {
	Name  string    `json:"name"`
	Board string    `json:"board"`
	Title string    `json:"title"` // of the board
	Role  node.Role `json:"role"`
	// Control says that the node runs Headscale.
	Control bool     `json:"control,omitempty"`
	Init    bool     `json:"init,omitempty"` // it may create the cluster
	Joins   []string `json:"joins"`          // the servers that it tries to join
	// Card says that the node runs from an SD card.
	Card bool `json:"card"`
	// DataDisk is the disk for the node's data, "" if they are on the boot disk.
	DataDisk string `json:"dataDisk,omitempty"`
	// Install is the disk onto which a stick copies its system, "" if the node is no such
	// stick.
	Install string `json:"install,omitempty"`

	small bool // it has too little memory for a server
}

// Warning is something that will cause trouble, and its remedy.
type Warning struct {
	Code    string `json:"code"`
	Summary string `json:"summary"`
	Remedy  string `json:"remedy"`
}

// Make plans a fleet. overlays contains the overlays, besides the fleet's own, that the boards
// refer to.
func Make(f *fleet.Fleet, overlays fs.FS) (*Plan, error) {
	p := &Plan{Cluster: f.Cluster.Name, Headscale: f.Cluster.Headscale.URL, Warnings: []Warning{}}
	for _, name := range slices.Sorted(maps.Keys(f.Sites)) {
		s := f.Sites[name]
		p.Sites = append(p.Sites, Site{Name: name, Timezone: s.Timezone, LAN: s.LAN, Nodes: []Node{}})
	}
	for _, name := range f.Nodes.Names {
		n, err := f.Find(name)
		if err != nil {
			return nil, err
		}
		b, err := f.Board(n.Board)
		if err != nil {
			return nil, err
		}
		install := ""
		if n.Install != nil {
			install = n.Install.Disk.String()
		}
		at := slices.IndexFunc(p.Sites, func(s Site) bool { return s.Name == n.Site })
		p.Sites[at].Nodes = append(p.Sites[at].Nodes, Node{
			Name: name, Board: n.Board, Title: b.Title, Role: n.Role.In(), Control: n.Role.Controls(), Init: name == f.Cluster.K3s.Init,
			Joins: joins(f, name, n.Role.In()),
			Card:  b.Firmware == board.RaspberryPi, DataDisk: n.DataDisk.String(), Install: install,
			small: isSmall(n.Machine.MemoryGiB, b),
		})
	}
	for i := range p.Sites {
		slices.SortStableFunc(p.Sites[i].Nodes, func(a, b Node) int { return rank(a.Role) - rank(b.Role) })
	}
	names := f.Applications()
	p.Names, p.LeadTo = append([]string{}, names.Hosts...), append([]string{}, names.Nodes...)
	var err error
	if p.Carriers, err = carriers(f, overlays); err != nil {
		return nil, err
	}
	p.Warnings = append(p.Warnings, warnings(f, p)...)
	return p, nil
}

// isSmall tells whether a node has too little memory for a server: by its own size where
// the fleet file tells that (machine:), or else as the smallest machine of its board.
func isSmall(gib int, b *board.Board) bool {
	memory := cmp.Or(board.Size(gib)<<30, b.Memory)
	return memory > 0 && memory < serverMemory
}

// joins are the servers that a node of the cluster tries to join.
func joins(f *fleet.Fleet, name string, role node.Role) []string {
	if role == node.Control {
		return []string{}
	}
	return slices.DeleteFunc(f.Servers(), func(s string) bool { return s == name })
}

func rank(r node.Role) int {
	return slices.Index([]node.Role{node.Server, node.Witness, node.Agent, node.Control}, r)
}

// all lists the nodes of all sites that have one of the roles.
func (p *Plan) all(roles ...node.Role) []Node {
	var out []Node
	for _, s := range p.Sites {
		for _, n := range s.Nodes {
			if slices.Contains(roles, n.Role) {
				out = append(out, n)
			}
		}
	}
	return out
}

// sitesWith counts the sites with a node of one of the roles.
func (p *Plan) sitesWith(roles ...node.Role) int {
	count := 0
	for _, s := range p.Sites {
		if slices.ContainsFunc(s.Nodes, func(n Node) bool { return slices.Contains(roles, n.Role) }) {
			count++
		}
	}
	return count
}
