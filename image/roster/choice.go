package roster

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
)

// Choice says which nodes are meant: by names, by site, or all.
type Choice struct {
	Names []string
	Site  string
	All   bool
}

// Check requires exactly one of the three.
func (c Choice) Check() error {
	ways := 0
	for _, said := range []bool{len(c.Names) > 0, c.Site != "", c.All} {
		if said {
			ways++
		}
	}
	if ways != 1 {
		return errors.New("say which nodes: NODE or more, or --site SITE, or --all")
	}
	return nil
}

// Of returns the chosen nodes: Names as given, otherwise in the order of the fleet's file. A
// node or site that the fleet does not have is an error.
func (c Choice) Of(f *fleet.Fleet) (names []string, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	for i, name := range c.Names {
		if _, err := f.Find(name); err != nil {
			return nil, err
		}
		if slices.Contains(c.Names[:i], name) {
			return nil, fmt.Errorf("%s is named twice", name)
		}
	}
	if _, known := f.Sites[c.Site]; c.Site != "" && !known {
		return nil, &fleet.UnknownError{Kind: "site", Name: c.Site, Known: slices.Sorted(maps.Keys(f.Sites))}
	}
	for _, name := range f.Nodes.Names {
		if n, _ := f.Nodes.Get(name); c.All || c.Site != "" && n.Site == c.Site {
			names = append(names, name)
		}
	}
	if c.Site != "" && len(names) == 0 {
		return nil, fmt.Errorf("site %s has no node", c.Site)
	}
	return append(names, c.Names...), nil
}

// Unseen explains why a node is not there, as far as Headscale shows.
const Unseen = "Headscale does not see it, or sees a stranger of its name"

// There says that a node is a member and online.
func There(rows []Row, name string) bool {
	return slices.ContainsFunc(rows, func(r Row) bool { return r.Node == name && r.there() })
}

func (r Row) there() bool { return r.State == Online && r.Member() }

// SubjectOf returns the subject for a member, by its name.
func SubjectOf(rows []Row, name string) (s inquiry.Subject, err error) {
	for _, r := range rows {
		switch {
		case r.Node == name && r.Stranger:
			return s, errors.New("a device that did not join with a key of this fleet is called " + name + " in the tailnet: rename or delete it there")
		case r.Node == name && r.Member():
			return r.Subject(), nil
		}
	}
	return s, errors.New(name + " has no address in the tailnet")
}

// Control is the row of the machine that runs Headscale while that does not answer: the only
// node that can be reached without it.
func Control(f *fleet.Fleet) Row { return Row{Node: f.Control(), State: Online, Public: true} }

// Member says that the node itself, not a stranger with its name, can be reached. Secrets are
// sent to members only.
func (r Row) Member() bool { return (r.Address.IsValid() || r.Public) && !r.Stranger }

// Subject is the node as a subject for package inquiry.
func (r Row) Subject() inquiry.Subject {
	return inquiry.Subject{Node: r.Node, Number: string(r.Number), Joined: r.Joined, Address: r.Address}
}
