// Package handover gives nodes that run the node.yaml that fleet.yaml makes of them now,
// signed by the owner, one node after the other.
//
// What it would change each node says before it has it. The package refuses what makes
// another node of one, and what may cut one off where nobody said that it shall be done
// all the same. It changes no cluster: whether a token is the cluster's, it cannot know.
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
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// Line runs a command on a node, with an input, and returns what it printed. The error is
// an *inquiry.No where the node itself says so, and the line is well.
type Line func(ctx context.Context, node, command string, input io.Reader) ([]byte, error)

// Node is what one node gets.
type Node struct {
	Name string `json:"node"`
	// Fields of its node.yaml are others than it works by, as it says; Steps are those
	// of its first boot that it goes through again.
	Fields []string `json:"fields,omitempty"`
	Steps  []string `json:"steps,omitempty"`
	// Risks say what may come of it, Notes what will not, in sentences.
	Risks []string `json:"risks,omitempty"`
	Notes []string `json:"notes,omitempty"`
	// Against is why it cannot get it, "" if it can; Silent why it could not be asked.
	Against string `json:"against,omitempty"`
	Silent  string `json:"silent,omitempty"`
	// Has says that the node has this very file, Given that it did not before, and works
	// by it now.
	Has   bool `json:"has"`
	Given bool `json:"given"`

	thin bool   // etcd was, when the node was asked: a risk that is told
	text []byte // which has secrets
}

// changes says whether it makes a difference to the node.
func (n Node) changes() bool { return !n.Has && len(n.Fields)+len(n.Steps) > 0 }

// Words say how it is with the node.
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

// Order is a handing over to some nodes, in their order.
type Order struct {
	Nodes []Node
	// Away are those that are not there, where many were meant.
	Away []string
	// Say is told how it goes on.
	Say func(node, words string)

	line   Line
	voters []string
	round  map[string]string // what is wrong with voters that were asked
}

// Prepare makes and signs what the nodes get, and asks each what that would change.
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

// signed is the node.yaml that a node is to get.
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

// sorted puts servers before those who join them, as they must know a new token first,
// and the machine with Headscale last: without it none of the others is found.
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

// askTime bounds a question: nodes look at all that they are.
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
	if why := o.quorum(ctx, *n); why != "" {
		n.Risks, n.thin = append(n.Risks, why), true
	}
}

// Unasked says who could not be asked, so that nobody knows what it would change there.
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

const unlessRisky = "; if that is what you want, say --risky"

// Run gives the nodes what they get, each after the one before works by it. What cannot
// be given, or is a risk that nobody takes, is refused before the first has anything.
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
		n := &o.Nodes[i]
		var err error
		switch {
		case n.changes():
			if !n.thin { // since all were asked one may have gone, of which nobody was told
				err = o.spared(ctx, *n)
			}
			if err == nil {
				err = o.hand(ctx, n)
			}
		case len(n.Steps) > 0: // what stopped it the last time stops it now
			if err = o.settle(ctx, *n); err == nil {
				n.Steps = nil
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	return nil
}

// hand lets a node have it, and waits until that works by it.
func (o *Order) hand(ctx context.Context, n *Node) error {
	o.Say(n.Name, "gets its node.yaml")
	_, err := o.line(ctx, n.Name, "firstboot offer", bytes.NewReader(n.text))
	var no *inquiry.No
	if errors.As(err, &no) || err != nil && !o.took(ctx, *n) {
		return errors.New(contract.PlainLine(err.Error()))
	}
	n.Has = true
	err = o.settle(ctx, *n)
	n.Given = err == nil
	return err
}

// tookTime is how long a node may be busy before it takes what it was handed.
const tookTime = 2 * time.Minute

// took says that a node has it, whose answer was lost with the line: one that said no has not.
func (o *Order) took(ctx context.Context, n Node) bool {
	for end := time.Now().Add(tookTime); time.Now().Before(end); {
		if p, err := o.ask(ctx, n); err == nil && p.InForce {
			return true
		}
		if pause(ctx) != nil {
			return false
		}
	}
	return false
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(between):
		return nil
	}
}

// A node on its way through the steps: k3s on a Pi takes minutes to start again. One that
// falls over soon after was well for a moment, too: the cluster takes a minute to see it.
const (
	patience = 15 * time.Minute
	steady   = 75 * time.Second
	between  = 5 * time.Second
)

// settle waits until the node works by what it was given and, where its k3s starts anew,
// still does a while later.
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
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("it does not work by its new node.yaml after %v: %s", patience, cmp.Or(last, "it did so for moments"))
}

// lacks says what a node lacks that has been given its file, "" if nothing.
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
