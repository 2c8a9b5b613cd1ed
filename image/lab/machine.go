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

// The states of a machine: before its node says something, and what it says.
const (
	Off         = "off"
	Booting     = "booting"
	NeedsPerson = contract.StateNeedsPerson
	Joined      = contract.StateJoined

	writing = "writing its card"
)

// Row is one machine and what its node says of itself.
type Row struct {
	Node  string    `json:"node"`
	Site  string    `json:"site"`
	Role  node.Role `json:"role"`
	State string    `json:"state"`
	// Address in the tailnet.
	Address string `json:"address,omitempty"`
	// Says is the step, or the problem, in the node's words.
	Says string `json:"says,omitempty"`
	// Seconds from power-on until it joined.
	Seconds float64 `json:"seconds,omitempty"`

	since time.Time // of the state
}

// machine is a computer that can be on.
type machine struct {
	Machine
	config qemu.Config
	// apiPort is Headscale's, where this machine runs it.
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

// say is what there is to tell of a machine that is off.
func (m *machine) say(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last.Says = what
}

// status is a whole line of firstboot's on the serial line
// (firstboot.Status.Line): half of one has half an address.
var status = regexp.MustCompile(`firstboot: (` + strings.Join([]string{contract.StateWorking, contract.StateWaiting, contract.StateNeedsPerson, contract.StateJoined}, "|") + `)( [^\r\n]*)?\r*\n`)

var (
	stepWord    = regexp.MustCompile(` step=(\S+)`)
	tailnetWord = regexp.MustCompile(` tailnet=(\S+)`)
	problemWord = regexp.MustCompile(` problem=([^\n]*)`)
)

// row reads what the node said last.
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

// read takes what a screen may show of the last line.
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

// Rows tells of every machine, in the order of the plan.
func (l *Lab) Rows() []Row {
	var out []Row
	for _, m := range l.Plan.Machines {
		out = append(out, l.machines[m.Node].row())
	}
	return out
}
