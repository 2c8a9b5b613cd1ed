package image

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/prune"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// checkBrought refuses a file of an overlay that t has and a later step took away. lost
// says by what, and what to do, or "" if the file is there. An image without it would look
// like any other. Directories count where an overlay declares them.
func (p *plan) checkBrought(t *tree.Tree, lost func(*tree.Node) string) error {
	declared := map[string]bool{}
	for _, o := range p.overlays {
		for _, dir := range o.Dirs {
			if n, err := t.Resolve(dir); err == nil {
				declared[n.Path] = true
			}
		}
	}
	var faults []error
	for n := range t.Walk() {
		if !strings.HasPrefix(n.Source, "overlay ") || n.Mode.IsDir() && !declared[n.Path] {
			continue
		}
		if why := lost(n); why != "" {
			faults = append(faults, fmt.Errorf("%s: /%s: %s", n.Source, n.Path, why))
		}
	}
	return errors.Join(faults...)
}

// lostToPrune is checkBrought's lost for what prune leaves of a tree.
func (p *plan) lostToPrune(finished, pruned *tree.Tree) func(*tree.Node) string {
	return func(n *tree.Node) string {
		if pruned.Get(n.Path) != nil {
			return ""
		}
		pattern := prune.Remover(finished, p.prune, n.Path)
		if pattern == "" {
			return fmt.Sprintf("is a link to %s, which prune removes: leave the link out, or keep what it leads to", n.Link)
		}
		keeps := pattern
		if !strings.Contains(keeps, " except ") {
			keeps += " except"
		}
		return fmt.Sprintf("prune of %s removes it, by %q: put it elsewhere, or write %q there", p.pruner(pattern), pattern, keeps+" "+path.Base(n.Path))
	}
}

// pruner says whose pattern it is.
func (p *plan) pruner(pattern string) string {
	for _, o := range p.overlays {
		if slices.Contains(o.Prune, pattern) {
			return "overlay " + o.Name
		}
	}
	return "board " + p.opt.Board.Name
}
