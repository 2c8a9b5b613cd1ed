package apt

import (
	"fmt"
	"maps"
	"slices"
)

// The search works as a person would: it takes every package that is forced until none is,
// then settles the first open choice by its order of preference, and backtracks if that
// leads to a conflict. Debian's choices are few and rarely conflict, so it seldom
// backtracks.

// maxSteps bounds the search; a real image takes a few dozen steps.
const maxSteps = 20000

// clause demands that one of its options is chosen.
type clause struct {
	from      *choice // nil for what the caller wants
	dep       Dependency
	options   []*Package // in order of preference
	essential bool
}

// choice is a chosen package and the clause that demanded it.
type choice struct {
	pkg *Package
	via clause
}

// veto forbids some versions of a name.
type veto struct {
	by    *choice
	field string // Conflicts or Breaks
	rel   Relation
}

// state is a partial solution.
type state struct {
	chosen   map[string]*choice
	provided map[string][]*choice // by the names that they provide
	vetoes   map[string][]veto
	open     []clause // clauses with a choice still to make, oldest first
}

func (s *state) clone() *state {
	c := &state{chosen: maps.Clone(s.chosen), provided: maps.Clone(s.provided), vetoes: maps.Clone(s.vetoes), open: slices.Clone(s.open)}
	for k, v := range c.provided {
		c.provided[k] = slices.Clip(v) // appending must not reach the original
	}
	for k, v := range c.vetoes {
		c.vetoes[k] = slices.Clip(v)
	}
	return c
}

func (u *universe) solve(roots []clause) (*state, error) {
	s := &state{chosen: map[string]*choice{}, provided: map[string][]*choice{}, vetoes: map[string][]veto{}}
	// All wishes are taken before any dependency, so that a dependency finds them already
	// chosen.
	var todo []clause
	for _, r := range roots {
		more, err := u.take(s, r, r.options[0])
		if err != nil {
			return nil, err
		}
		todo = append(todo, more...)
	}
	return u.search(s, todo)
}

// search completes s, or returns the first dead end that it met: later dead ends come from
// less preferred choices.
func (u *universe) search(s *state, todo []clause) (*state, error) {
	if err := u.propagate(s, todo); err != nil {
		return nil, err
	}
	if len(s.open) == 0 {
		return s, nil
	}
	cl := s.open[0]
	var first error
	for _, p := range u.allowed(s, cl) {
		if u.steps++; u.steps > maxSteps {
			return nil, fmt.Errorf("no solution found in %d steps; pin or exclude packages to help", maxSteps)
		}
		next := s.clone()
		more, err := u.take(next, cl, p)
		if err == nil {
			if next, err = u.search(next, more); err == nil {
				return next, nil
			}
		}
		if _, ok := err.(*resolveError); !ok {
			return nil, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// propagate takes every forced package, until only clauses with a real choice are open.
func (u *universe) propagate(s *state, todo []clause) error {
	for {
		for len(todo) > 0 {
			cl := todo[0]
			more, keep, err := u.settle(s, cl)
			if err != nil {
				return err
			}
			if keep {
				s.open = append(s.open, cl)
			}
			todo = append(todo[1:], more...)
		}
		var err error
		if todo, err = u.recheck(s); err != nil || len(todo) == 0 {
			return err
		}
	}
}

// recheck settles the open clauses again after other packages were taken: some may be
// satisfied by now, some may have only one option left.
func (u *universe) recheck(s *state) (todo []clause, err error) {
	open := s.open
	s.open = nil
	for _, cl := range open {
		more, keep, err := u.settle(s, cl)
		if err != nil {
			return nil, err
		}
		if keep {
			s.open = append(s.open, cl)
		}
		todo = append(todo, more...)
	}
	return todo, nil
}

// settle drops a satisfied clause, takes the option of a clause that has only one left, and
// keeps a clause with a choice.
func (u *universe) settle(s *state, cl clause) (more []clause, keep bool, err error) {
	for _, p := range cl.options {
		if c := s.chosen[p.Name]; c != nil && c.pkg == p {
			return nil, false, nil
		}
	}
	switch allowed := u.allowed(s, cl); len(allowed) {
	case 0:
		return nil, false, u.explain(s, cl)
	case 1:
		more, err = u.take(s, cl, allowed[0])
		return more, false, err
	}
	return nil, true, nil
}

// allowed returns the options that conflict with no chosen package.
func (u *universe) allowed(s *state, cl clause) []*Package {
	var out []*Package
	for _, p := range cl.options {
		if s.obstacle(p) == nil {
			out = append(out, p)
		}
	}
	return out
}

// take chooses p and returns the clauses of its dependencies.
func (u *universe) take(s *state, cl clause, p *Package) ([]clause, error) {
	if c := s.chosen[p.Name]; c != nil {
		return nil, nil
	}
	c := &choice{pkg: p, via: cl}
	if o := s.obstacle(p); o != nil {
		return nil, &resolveError{Reasons: []string{o.describe(c)}}
	}
	s.chosen[p.Name] = c
	for _, v := range p.Provides {
		s.provided[v.Name] = append(s.provided[v.Name], c)
	}
	for _, r := range p.Conflicts {
		s.vetoes[r.Name] = append(s.vetoes[r.Name], veto{c, "Conflicts", r})
	}
	for _, r := range p.Breaks {
		s.vetoes[r.Name] = append(s.vetoes[r.Name], veto{c, "Breaks", r})
	}
	return u.clauses(c)
}

// obstacle is a conflict between a chosen package and a new one, in either
// direction.
type obstacle struct {
	chosen *choice
	field  string
	rel    Relation
	byNew  bool // the new package declares it
}

// obstacle returns the first conflict that excludes p, or nil.
func (s *state) obstacle(p *Package) *obstacle {
	for _, v := range s.vetoes[p.Name] {
		if v.by.pkg.Name != p.Name && v.rel.admits(p.Version) {
			return &obstacle{v.by, v.field, v.rel, false}
		}
	}
	for _, offer := range p.Provides {
		for _, v := range s.vetoes[offer.Name] {
			if v.by.pkg.Name != p.Name && provides(p, v.rel) {
				return &obstacle{v.by, v.field, v.rel, false}
			}
		}
	}
	if o := s.vetoed(p, "Conflicts", p.Conflicts); o != nil {
		return o
	}
	return s.vetoed(p, "Breaks", p.Breaks)
}

// vetoed looks for a chosen package that p declares a conflict with. A package
// may conflict with what it provides itself (policy, 7.6.2).
func (s *state) vetoed(p *Package, field string, rels []Relation) *obstacle {
	for _, r := range rels {
		if c := s.chosen[r.Name]; c != nil && r.Name != p.Name && r.admits(c.pkg.Version) {
			return &obstacle{c, field, r, true}
		}
		for _, c := range s.provided[r.Name] {
			if c.pkg.Name != p.Name && provides(c.pkg, r) {
				return &obstacle{c, field, r, true}
			}
		}
	}
	return nil
}
