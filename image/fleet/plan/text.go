package plan

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Text writes the plan for a terminal.
func (p *Plan) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, joined over %s\n", p.Cluster, p.Headscale)
	for _, s := range p.Sites {
		fmt.Fprintf(&b, "\n%s\n", strings.Join(append([]string{s.Name}, s.about()...), " · "))
		s.rows(&b)
	}
	for _, c := range p.Carriers {
		c.text(&b)
	}
	if len(p.Names) > 0 {
		fmt.Fprintf(&b, "\nnames in the tailnet, which lead to %s\n", strings.Join(p.LeadTo, ", "))
		for _, name := range p.Names {
			fmt.Fprintf(&b, "   %s\n", name)
		}
	}
	for _, warning := range p.Warnings {
		fmt.Fprintf(&b, "\n! %s\n  -> %s\n", warning.Summary, warning.Remedy)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// about is what is known about a site besides its name.
func (s Site) about() []string {
	var out []string
	if s.Timezone != "" {
		out = append(out, s.Timezone)
	}
	return append(out, s.LAN...)
}

func (s Site) rows(b *strings.Builder) {
	w := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	for i, n := range s.Nodes {
		branch := "├─"
		if i == len(s.Nodes)-1 {
			branch = "└─"
		}
		fmt.Fprintf(w, "%s %s\t%s\t%s\t%s\n", branch, n.Name, n.Role, n.Title, n.told())
	}
	w.Flush() // a strings.Builder takes everything
}

// told describes what the node does when it is switched on.
func (n Node) told() string {
	others := strings.Join(n.Joins, " or ")
	switch {
	case n.Init && others == "":
		return "creates the cluster"
	case n.Init:
		return "creates the cluster, unless " + others + " has one"
	case n.Role == node.Control:
		return "runs Headscale"
	case n.Control:
		return "runs Headscale, votes with " + strings.Join(n.Joins, " and ")
	case n.Role == node.Witness:
		return "votes with " + strings.Join(n.Joins, " and ")
	}
	return "joins " + others
}
