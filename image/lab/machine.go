package lab

import (
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/qemu"
	"github.com/going-mobile/imagebuilder/image/qemu/guest"
)

// The states of a machine: before its node reports, and what its node reports.
const (
	Off         = "off"
	Booting     = "booting"
	NeedsPerson = contract.StateNeedsPerson
	Joined      = contract.StateJoined

	writing = "writing its card"
)

// Row is the state of one machine and its node.
type Row struct {
	Node  string    `json:"node"`
	Site  string    `json:"site"`
	Role  node.Role `json:"role"`
	State string    `json:"state"`
	// Address in the tailnet.
	Address string `json:"address,omitempty"`
	// Says is the current step, or the problem, in the node's words.
	Says string `json:"says,omitempty"`
	// Seconds from power-on until it joined.
	Seconds float64 `json:"seconds,omitempty"`

	since time.Time // of the state
}

// machine is a computer that can be switched on and off.
type machine struct {
	Machine
	config qemu.Config
	// apiPort is the host's port for Headscale's API, if this machine runs Headscale.
	apiPort int

	mu    sync.Mutex
	guest *guest.Guest
	on    time.Time
	last  Row
}

func (m *machine) running() *guest.Guest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.guest
}

func (m *machine) switchedOn(g *guest.Guest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.guest, m.on, m.last = g, time.Now(), Row{}
}

// say sets the words to show while the machine is off.
func (m *machine) say(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last.Says = what
}

// status matches a complete status line of firstboot on the serial line
// (firstboot.Status.Line): an incomplete one might have an incomplete address.
var status = regexp.MustCompile(`firstboot: (` + strings.Join([]string{contract.StateWorking, contract.StateWaiting, contract.StateNeedsPerson, contract.StateJoined}, "|") + `)( [^\r\n]*)?\r*\n`)

var (
	stepWord    = regexp.MustCompile(` step=(\S+)`)
	tailnetWord = regexp.MustCompile(` tailnet=(\S+)`)
	problemWord = regexp.MustCompile(` problem=([^\n]*)`)
)

// row reads the node's last report.
func (m *machine) row() Row {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := Row{Node: m.Node, Site: m.Site, Role: m.Role, State: Off, Says: m.last.Says}
	if m.guest != nil && !m.guest.Ended() {
		r.read(m.guest.Serial())
	}
	if r.since = m.last.since; r.State != m.last.State || r.since.IsZero() {
		r.since = time.Now()
	}
	if r.Seconds = m.last.Seconds; r.State == Joined && r.Seconds == 0 {
		r.Seconds = time.Since(m.on).Round(time.Second).Seconds()
	}
	m.last = r
	return r
}

// read takes the state from the last status line on the serial line.
func (r *Row) read(serial string) {
	r.State, r.Says = Booting, ""
	all := status.FindAllStringSubmatch(serial, -1)
	if len(all) == 0 {
		return
	}
	line := all[len(all)-1]
	r.State = line[1]
	if w := tailnetWord.FindStringSubmatch(line[2]); w != nil {
		r.Address = contract.PlainLine(w[1])
	}
	if w := problemWord.FindStringSubmatch(line[2]); w != nil {
		says, _, _ := strings.Cut(w[1], " | ")
		r.Says = contract.PlainLine(says)
	} else if w := stepWord.FindStringSubmatch(line[2]); w != nil && r.State != Joined {
		r.Says = contract.PlainLine(w[1])
	}
}

// Rows describes every machine, in the order of the plan.
func (l *Lab) Rows() []Row {
	var out []Row
	for _, m := range l.Plan.Machines {
		out = append(out, l.machines[m.Node].row())
	}
	return out
}
