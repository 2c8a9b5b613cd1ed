// Package handover updates the node.yaml of running nodes to what fleet.yaml makes of them
// now, signed by the owner, one node after the other.
//
// Each node says beforehand what the new file would change there. The package refuses
// changes that would make it a different node, and, unless the caller accepts the risk,
// changes that may cut a node off. It does not change the cluster, and cannot know whether a
// token is the cluster's.
package handover

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// Line runs a command on a node, with an input, and returns what the command printed. The
// error is an *inquiry.No if the connection works and the node's command itself failed.
type Line func(ctx context.Context, node, command string, input io.Reader) ([]byte, error)

// Node is what one node gets, and what became of it.
type Node struct {
	Name string `json:"node"`
	// Fields are those of its node.yaml that would change, according to the node; Steps are
	// the steps of first boot that it would go through again.
	Fields []string `json:"fields,omitempty"`
	Steps  []string `json:"steps,omitempty"`
	// Risks say what may go wrong, Notes what will not take effect, or have further effects,
	// in sentences.
	Risks []string `json:"risks,omitempty"`
	Notes []string `json:"notes,omitempty"`
	// Against is why the node cannot get the file, "" if it can; Silent is why the node
	// could not be asked, "" if it was.
	Against string `json:"against,omitempty"`
	Silent  string `json:"silent,omitempty"`
	// Has says that the node has exactly this file. Given says that it got the file from Run
	// and works by it now.
	Has   bool `json:"has"`
	Given bool `json:"given"`

	thin bool   // when the node was asked, etcd could not spare it; Risks say so
	text []byte // the signed node.yaml; it contains secrets
}

// changes says whether the file makes a difference to the node.
func (n Node) changes() bool { return !n.Has && len(n.Fields)+len(n.Steps) > 0 }

// hasTurn says whether turn has anything to do for the node.
func (n Node) hasTurn() bool { return n.changes() || len(n.Steps) > 0 }

// Words describe the node's state.
func (n Node) Words() string {
	what := strings.Join(n.Fields, ", ")
	if len(n.Steps) > 0 {
		what = strings.TrimPrefix(what+"; goes through "+strings.Join(n.Steps, ", ")+" again", "; ")
	}
	switch {
	case n.Silent != "":
		return "could not be asked: " + n.Silent
	case n.Against != "":
		return "cannot have it: " + n.Against
	case len(n.Fields)+len(n.Steps) == 0:
		return "works by it already"
	case n.Given:
		return "works by it now: " + what
	case n.Has:
		return "has it, and is not well yet: " + what
	}
	return "does not work by it: " + what
}

// Order hands their files to some nodes, in order.
type Order struct {
	Nodes []Node
	// Away are chosen nodes that are offline; nodes that were named must be online.
	Away []string
	// Say is told about the progress.
	Say func(node, words string)

	line   Line
	voters []string
	round  map[string]string // what is wrong with each voter that was asked in this round
}

// Prepare makes and signs the files, and asks each node what its file would change.
func Prepare(ctx context.Context, f *fleet.Fleet, rows []roster.Row, c roster.Choice, line Line, now time.Time) (*Order, error) {
	names, err := c.Of(f)
	if err != nil {
		return nil, err
	}
	key, err := f.Signer()
	if err != nil {
		return nil, err
	}
	o := &Order{line: line, voters: voters(f, rows), round: map[string]string{}, Say: func(string, string) {}}
	for _, name := range sorted(f, names) {
		switch {
		case roster.There(rows, name):
		case len(c.Names) > 0:
			return nil, fmt.Errorf("nothing was done: %s is not there: %s ('imagebuilder status')", name, roster.Unseen)
		default:
			o.Away = append(o.Away, name)
			continue
		}
		text, err := signed(f, name, key, now)
		if err != nil {
			return nil, err
		}
		o.Nodes = append(o.Nodes, Node{Name: name, text: text})
	}
	for i := range o.Nodes {
		o.foresee(ctx, &o.Nodes[i])
	}
	return o, ctx.Err()
}

// signed makes the signed node.yaml of a node.
func signed(f *fleet.Fleet, name string, key minisign.PrivateKey, now time.Time) ([]byte, error) {
	cfg, err := f.Config(name)
	if err != nil {
		return nil, err
	}
	text, err := node.Marshal(cfg)
	if err == nil {
		text, err = node.Sign(text, name, key, now)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

// sorted puts servers before the nodes that join them, as servers must know a new token
// first, and the machine with Headscale last: without it none of the others can be reached.
func sorted(f *fleet.Fleet, names []string) []string {
	rank := func(name string) int {
		n, _ := f.Nodes.Get(name)
		role := n.Role.In()
		if n.Role.Controls() {
			role = node.Control
		}
		return slices.Index([]node.Role{node.Server, node.Witness, node.Agent, node.Control}, role)
	}
	all := slices.Clone(names)
	slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	return all
}

// askTime bounds a question: the node compares all of its settings.
const askTime = time.Minute

func (o *Order) ask(ctx context.Context, n Node) (p contract.Preview, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	out, err := o.line(ctx, n.Name, contract.AskPreview, bytes.NewReader(n.text))
	if err != nil {
		return p, inquiry.Plain(err)
	}
	if p, err = contract.ParsePreview(out); err != nil {
		return p, err
	}
	for _, list := range [][]string{p.Fields, p.Steps} {
		for i := range list {
			list[i] = contract.PlainLine(list[i])
		}
	}
	return p, nil
}

func (o *Order) foresee(ctx context.Context, n *Node) {
	p, err := o.ask(ctx, *n)
	var silent *inquiry.SilentError
	switch {
	case errors.As(err, &silent):
		n.Silent = silent.Why
		return
	case err != nil:
		n.Against = err.Error()
		return
	}
	n.Has, n.Fields, n.Steps = p.InForce, p.Fields, p.Steps
	n.Risks, n.Notes, n.Against = risks(p.Fields, p.Steps)
	higher, notes := raises(p.Charts)
	n.Risks, n.Notes = append(n.Risks, higher...), append(n.Notes, notes...)
	if why := o.quorum(ctx, *n); why != "" {
		n.Risks, n.thin = append(n.Risks, why), true
	}
}

// Unasked names the nodes that could not be asked, so it is not known what would change
// there.
func (o *Order) Unasked() error {
	names := slices.Clone(o.Away)
	for _, n := range o.Nodes {
		if n.Silent != "" {
			names = append(names, n.Name)
		}
	}
	switch {
	case len(o.Nodes) == 0:
		return errors.New("none of them is there")
	case len(names) > 0:
		return fmt.Errorf("what would change is not known of %s: could not be asked", strings.Join(names, ", "))
	}
	return nil
}

// Stopped is the error of a run that ended early, when some nodes may have their file.
type Stopped struct {
	Node  string
	Left  []string // nodes whose turn had not come
	Cause error
}

func (s *Stopped) Error() string { return fmt.Sprintf("%s: %v", s.Node, s.Cause) }
func (s *Stopped) Unwrap() error { return s.Cause }

const unlessRisky = "; if that is what you want, say --risky"

// Run hands the files to the nodes, each after the previous one works by its own. If a node
// cannot get its file, or there is a risk and risky is false, Run refuses before the first
// node gets anything. Later errors are a *Stopped.
func (o *Order) Run(ctx context.Context, risky bool) error {
	if len(o.Nodes) == 0 {
		return errors.New("nothing was done: none of them is there")
	}
	for _, n := range o.Nodes {
		switch {
		case n.Silent != "":
			return fmt.Errorf("nothing was done: %s could not be asked: %s", n.Name, n.Silent)
		case n.Against != "":
			return fmt.Errorf("nothing was done: %s cannot have it: %s", n.Name, n.Against)
		case len(n.Risks) > 0 && !risky:
			return fmt.Errorf("nothing was done: %s: %s%s", n.Name, n.Risks[0], unlessRisky)
		}
	}
	for i := range o.Nodes {
		if err := o.turn(ctx, &o.Nodes[i]); err != nil {
			return &Stopped{o.Nodes[i].Name, withTurn(o.Nodes[i+1:]), err}
		}
	}
	return nil
}

// turn gives one node its turn.
func (o *Order) turn(ctx context.Context, n *Node) error {
	switch {
	case n.changes():
		if !n.thin { // another voter may have failed since all were asked, a risk that was not reported
			if err := o.spared(ctx, *n); err != nil {
				return err
			}
		}
		return o.hand(ctx, n)
	case len(n.Steps) > 0: // the node has the file already: the step that failed last time may fail again
		if err := o.settle(ctx, *n); err != nil {
			return err
		}
		n.Steps = nil
	}
	return nil
}

func withTurn(nodes []Node) (names []string) {
	for _, n := range nodes {
		if n.hasTurn() {
			names = append(names, n.Name)
		}
	}
	return names
}

// hand gives a node its file, and waits until the node works by it.
func (o *Order) hand(ctx context.Context, n *Node) error {
	o.Say(n.Name, "gets its node.yaml")
	_, err := o.line(ctx, n.Name, contract.TellOffer, bytes.NewReader(n.text))
	var no *inquiry.No
	if errors.As(err, &no) || err != nil && !o.took(ctx, *n) {
		return errors.New(contract.PlainLine(err.Error()))
	}
	n.Has = true
	err = o.settle(ctx, *n)
	n.Given = err == nil
	return err
}

// tookTime is how long a node may be busy before it accepts its file.
const tookTime = 2 * time.Minute

// took says whether a node accepted its file although the connection broke before it
// answered. A node that refused has not accepted it.
func (o *Order) took(ctx context.Context, n Node) bool {
	for end := time.Now().Add(tookTime); time.Now().Before(end); {
		if p, err := o.ask(ctx, n); err == nil && p.InForce {
			return true
		}
		if ctxio.Sleep(ctx, between) != nil {
			return false
		}
	}
	return false
}

// Times while a node goes through its steps. k3s on a Pi takes minutes to start again. A
// node whose k3s fails soon after may look well for a moment, as the cluster takes a minute
// to notice: so it has to stay well for the time steady.
const (
	patience = 15 * time.Minute
	steady   = 75 * time.Second
	between  = 5 * time.Second
)

// settle waits until the node works by its new file and, if its k3s restarts, still does
// after the time steady.
func (o *Order) settle(ctx context.Context, n Node) error {
	enough, last, well := time.Duration(0), "", time.Time{}
	if slices.Contains(n.Steps, "k3s") || slices.Contains(n.Steps, "verify") {
		enough = steady
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		words := o.lacks(ctx, n)
		if words != "" {
			well = time.Time{}
		} else if well.IsZero() {
			well = time.Now()
		}
		if words == "" && time.Since(well) >= enough {
			o.Say(n.Name, "works by it")
			return nil
		}
		if words != last && words != "" {
			o.Say(n.Name, words)
		}
		last = words
		if err := ctxio.Sleep(ctx, between); err != nil {
			return err
		}
	}
	return fmt.Errorf("it does not work by its new node.yaml after %v: %s", patience, cmp.Or(last, "it did so for moments"))
}

// lacks says what a node still lacks after it got its file, "" if nothing.
func (o *Order) lacks(ctx context.Context, n Node) string {
	switch p, err := o.ask(ctx, n); {
	case err != nil:
		return err.Error()
	case !p.InForce:
		return "has not taken it yet"
	case len(p.Steps) > 0:
		return "is at the step " + p.Steps[0]
	}
	return ""
}
