package roster

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
)

// Choice says which nodes are meant.
type Choice struct {
	Names []string
	Site  string
	All   bool
}

// Check wants exactly one way to say it.
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

// Of are the nodes that are meant, all of which the fleet has, in its file's order where
// they are not named.
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

// Unseen says why a node is not there, as far as Headscale tells.
const Unseen = "Headscale does not see it, or sees a stranger of its name"

// There says that a node is a member, and is there to be asked.
func There(rows []Row, name string) bool {
	return slices.ContainsFunc(rows, func(r Row) bool { return r.Node == name && r.there() })
}

func (r Row) there() bool { return r.State == Online && r.Member() }

// SubjectOf is a member by its name, whom to ask.
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

// Member says that the node itself has an address in the tailnet, whoever else bears
// its name: secrets go nowhere else.
func (r Row) Member() bool { return r.Address.IsValid() && !r.Stranger }

// Subject is whom to ask.
func (r Row) Subject() inquiry.Subject {
	return inquiry.Subject{Node: r.Node, Number: string(r.Number), Joined: r.Joined, Address: r.Address}
}
