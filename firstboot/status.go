package firstboot

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// State is where a node stands, in one word.
type State string

// The states.
const (
	Working     State = contract.StateWorking     // a step is being done
	Waiting     State = contract.StateWaiting     // for something that may pass with time
	NeedsPerson State = contract.StateNeedsPerson // for something that only a person can fix
	Joined      State = contract.StateJoined      // all steps are done
)

// Status is what a node reports about itself. It never holds a secret.
type Status struct {
	State     State      `json:"state"`
	Node      string     `json:"node,omitempty"`
	Site      string     `json:"site,omitempty"`
	Role      string     `json:"role,omitempty"`
	Step      string     `json:"step,omitempty"`
	Addresses []string   `json:"addresses,omitempty"` // of the local network
	Tailnet   []string   `json:"tailnet,omitempty"`   // of the tailnet
	Problem   *Problem   `json:"problem,omitempty"`
	Notice    *Problem   `json:"notice,omitempty"` // wrong, but the node works on
	Attempt   int        `json:"attempt,omitempty"`
	NextTry   *time.Time `json:"nextTry,omitempty"`
	Time      time.Time  `json:"time"`
	Checked   *time.Time `json:"checked,omitempty"` // when a joined node was last found well
	Program   string     `json:"program,omitempty"`
	Slot      string     `json:"slot,omitempty"` // the slot that the system runs from, a or b
	Boot
	// Asked counts how often a person changed node.yaml or asked for a retry. When it
	// changes, the status is shown at once: somebody wants to read the answer.
	Asked int `json:"-"`
}

// Boot is what "firstboot status" adds about the running image and the slots, as they are
// when it is asked.
type Boot struct {
	Image string     `json:"image,omitempty"` // its version
	Made  *time.Time `json:"made,omitempty"`  // timestamp of the newest Debian index in it
	Good  string     `json:"good,omitempty"`  // the slot that starts when no trial is under way
	Trial string     `json:"trial,omitempty"` // the slot on trial
	Tries int        `json:"tries,omitempty"` // tries that Trial has left; 0 means that they are used up
}

func (s *Status) describe(c *node.Config) {
	s.Node, s.Site, s.Role = c.Node, c.Site, string(c.Role)
}

// JSON returns the content of StatusJSON.
func (s Status) JSON() []byte {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil { // strings, numbers and times always marshal
		return []byte("{}\n")
	}
	return append(b, '\n')
}

// ReadStatus returns what StatusJSON says. The error is fs.ErrNotExist if
// firstboot has not come that far in this boot.
func ReadStatus(files Files) (Status, error) {
	h := &Host{Files: files}
	data, err := h.read(StatusJSON)
	if err != nil {
		return Status{}, err
	}
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return Status{}, fmt.Errorf("%s: %w", StatusJSON, err)
	}
	return s, nil
}

var headlines = map[State]string{
	Working:     "WORKING - please wait",
	Waiting:     "WAITING - the node keeps trying by itself",
	NeedsPerson: "PLEASE HELP - somebody must do something",
	Joined:      "JOINED - everything is fine",
}

// Lines returns the status for people, in lines of at most width characters
// of plain ASCII.
func (s Status) Lines(width int) []string {
	out := []string{headlines[s.State], ""}
	add := func(label, value string) {
		if value != "" {
			out = append(out, wrap(fmt.Sprintf("%-10s", label), value, width)...)
		}
	}
	add("Node", s.Node)
	add("Site", s.Site)
	add("Role", s.Role)
	add("Address", strings.Join(s.Addresses, ", "))
	add("Tailnet", strings.Join(s.Tailnet, ", "))
	add("Step", s.stepText())
	add("Time", s.Time.Format("2006-01-02 15:04:05 UTC"))
	if s.Checked != nil {
		add("Checked", s.Checked.Format("15:04:05 UTC"))
	}
	for _, p := range []*Problem{s.Problem, s.Notice} {
		if p == nil {
			continue
		}
		out = append(out, "")
		add("Problem", p.Summary)
		add("What to do", p.Remedy)
		add("Code", p.Code)
	}
	if s.NextTry != nil {
		add("Next try", s.NextTry.Format("15:04:05 UTC"))
	}
	return out
}

func (s Status) stepText() string {
	n, of := s.StepNumber()
	if n == 0 {
		return s.Step
	}
	return fmt.Sprintf("%d of %d: %s - %s", n, of, s.Step, stepWords[n-1].words)
}

// StepNumber returns the step's place among all, from 1, and their number. n is 0 if it
// is none of them.
func (s Status) StepNumber() (n, of int) {
	for i, step := range stepWords {
		if step.name == s.Step {
			return i + 1, len(stepWords)
		}
	}
	return 0, len(stepWords)
}

// stepWords has all steps in their order, each with what the screen says of it.
var stepWords = []struct{ name, words string }{
	{"identity", "name, keys and network settings"},
	{"clock", "setting the time"},
	{"components", "downloading programs"},
	{"control", "starting the private network's own server"},
	{"tailnet", "joining the private network"},
	{"firewall", "keeping everybody else out"},
	{"storage", "unlocking the data"},
	{"k3s", "starting the cluster program"},
	{"verify", "looking whether the cluster accepts this node"},
	{"secrets", "handing the cluster the secrets it begins with"},
	{"seal", "removing the secrets"},
	{"longhorn", "preparing the disk for volumes"},
	{"restore", "bringing volumes back from their backup"},
}

// wrap breaks a value into lines, indented below its label.
func wrap(label, value string, width int) []string {
	label = strings.TrimRight(label, " ")
	const indent = 12
	line := fmt.Sprintf("%-*s", indent, label)
	var out []string
	used := 0
	for _, word := range strings.Fields(plain(value)) {
		for len(word) > width-indent { // an endless word still fits the screen
			out = append(out, line+word[:width-indent])
			word, line, used = word[width-indent:], strings.Repeat(" ", indent), 0
		}
		if used > 0 && len(line)+1+len(word) > width {
			out = append(out, line)
			line, used = strings.Repeat(" ", indent), 0
		}
		if used > 0 {
			line += " "
		}
		line += word
		used++
	}
	return append(out, line)
}

// Line returns the status in one line, for serial consoles and the journal.
func (s Status) Line() string {
	return s.line(func(p *Problem) string { return fmt.Sprintf("%s: %s | %s", p.Code, p.Summary, p.Remedy) })
}

// Brief returns the line with the problems' codes alone: their texts may differ at every
// try.
func (s Status) Brief() string {
	return s.line(func(p *Problem) string { return p.Code })
}

func (s Status) line(words func(*Problem) string) string {
	b := fmt.Sprintf("firstboot: %s", s.State)
	if s.Node != "" {
		b += fmt.Sprintf(" node=%s site=%s role=%s", s.Node, s.Site, s.Role)
	}
	if s.Step != "" {
		b += " step=" + s.Step
	}
	if len(s.Tailnet) > 0 {
		b += " tailnet=" + s.Tailnet[0]
	}
	for _, p := range []*Problem{s.Problem, s.Notice} {
		if p != nil {
			b += " problem=" + words(p)
		}
	}
	return b
}

// Lasting returns the part of the status that stays the same while nothing happens. A
// node that is trying again counts as being in the state where its problem left it.
func (s Status) Lasting() Status {
	s.Attempt, s.NextTry, s.Time, s.Checked = 0, nil, time.Time{}, nil
	if s.Problem != nil {
		s.State = s.Problem.state()
	}
	return s
}

// Text returns the content of StatusText, with the line ends (CRLF) that Windows editors
// want.
func (s Status) Text() []byte {
	return []byte(strings.Join(s.Lines(78), "\r\n") + "\r\n")
}

// Screen returns the escape sequences and text that show the status on a terminal.
func (s Status) Screen(width, height int) []byte {
	colour := map[State]string{Working: "1;37;44", Waiting: "43;30", NeedsPerson: "1;37;41", Joined: "42;30"}[s.State]
	lines := s.Lines(min(width-4, 100))
	var b strings.Builder
	// Reset attributes and colours, hide the cursor, clear the screen.
	b.WriteString("\x1b[0m\x1b[?25l\x1b[H\x1b[2J")
	fmt.Fprintf(&b, "\x1b[%sm%-*s\x1b[0m\r\n", colour, width-1, "  "+lines[0])
	for _, l := range lines[1:min(len(lines), height-2)] {
		b.WriteString("  " + l + "\r\n")
	}
	return []byte(b.String())
}
