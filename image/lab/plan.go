package lab

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// Plan is what the lab will start, and what resources it needs.
type Plan struct {
	// Machines in the order in which they are started.
	Machines []Machine `json:"machines"`
	// Memory in bytes and Processors are totals over all machines.
	Memory     int64 `json:"memory"`
	Processors int   `json:"processors"`
	// Together says that machines are started at the same time.
	Together bool `json:"together"`
}

// Machine is one node as it is emulated.
type Machine struct {
	Node string    `json:"node"`
	Site string    `json:"site"`
	Role node.Role `json:"role"`
	// Control says that the machine runs Headscale, Init that it may create the cluster.
	Control bool `json:"control,omitempty"`
	Init    bool `json:"init,omitempty"`
	// Board is the board that is emulated, For the board that it stands in for, "" if that
	// is the same.
	Board string `json:"board"`
	For   string `json:"for,omitempty"`
	// Memory in bytes.
	Memory int64 `json:"memory"`

	emulated *board.Board
}

// processors is the number of processors of each machine.
const processors = 2

// Generic is the board for a virtual machine with this computer's architecture.
func Generic() string { return "generic-" + runtime.GOARCH }

// MakePlan plans a lab for a fleet's nodes. memory is each machine's, in bytes; 0 means what
// its board says.
func MakePlan(f *fleet.Fleet, memory int64) (*Plan, error) {
	p := &Plan{}
	for _, name := range f.Nodes.Names {
		n, err := f.Find(name)
		if err != nil {
			return nil, err
		}
		p.Machines = append(p.Machines, Machine{Node: name, Site: n.Site, Role: n.Role.In(), Control: n.Role.Controls(), Init: name == f.Cluster.K3s.Init, Board: n.Board})
	}
	if f.Control() == "" {
		p.Machines = append(p.Machines, Machine{Node: fleet.RehearsedControl, Site: fleet.RehearsedControl, Role: node.Control, Control: true, Board: Generic()})
	}
	for i := range p.Machines {
		m := &p.Machines[i]
		if err := m.stand(f); err != nil {
			return nil, err
		}
		if m.Memory = memory; memory == 0 {
			size, err := board.ParseSize(m.emulated.QEMU.Memory + "iB") // QEMU's units are binary
			if err != nil {
				return nil, fmt.Errorf("board %s: qemu.memory: %w", m.Board, err)
			}
			m.Memory = int64(size)
		}
		p.Memory += m.Memory
		p.Processors += processors
	}
	slices.SortStableFunc(p.Machines, func(a, b Machine) int { return a.rank() - b.rank() })
	p.Together = runtime.NumCPU() >= p.Processors
	return p, nil
}

// rank is the order of starting: no node can join before Headscale runs, and no other node
// of the cluster before the server that creates the cluster.
func (m Machine) rank() int {
	switch {
	case m.Control:
		return 0
	case m.Init:
		return 1
	case m.Role == node.Agent:
		return 3
	}
	return 2
}

// stand replaces the board by a virtual machine if it would be too slow here, or cannot be
// emulated with a second network card.
func (m *Machine) stand(f *fleet.Fleet) error {
	b, err := f.Board(m.Board)
	if err != nil {
		return err
	}
	if b.Arch != runtime.GOARCH || b.Firmware == board.RaspberryPi || b.QEMU.Machine == "" {
		m.For, m.Board = m.Board, Generic()
		if b, err = f.Board(m.Board); err != nil {
			return err
		}
	}
	m.emulated = b
	return nil
}

// Boards are the machines' boards by node, for the rehearsal.
func (p *Plan) Boards() map[string]string {
	out := map[string]string{}
	for _, m := range p.Machines {
		out[m.Node] = m.Board
	}
	return out
}

// Text writes the plan for people.
func (p *Plan) Text(w io.Writer) error {
	how := "one after the other"
	if p.Together {
		how = "beside each other"
	}
	fmt.Fprintf(w, "The lab takes %.1f GB of memory and up to %d of this computer's %d processors; machines are started %s.\n\n",
		float64(p.Memory)/1e9, min(p.Processors, runtime.NumCPU()), runtime.NumCPU(), how)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, m := range p.Machines {
		what := m.Board
		if m.For != "" {
			what += " in place of " + m.For
		}
		if m.Control {
			what += ", with Headscale"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", m.Node, m.Site, m.Role, what)
	}
	return t.Flush()
}
