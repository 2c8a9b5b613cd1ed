package kmod

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// graph holds the modules in depmod's order with their dependencies, which it derives from
// symbols, as depmod does.
type graph struct {
	modules []*module
	index   map[*module]int // index in modules, which is the priority in the tries
	owner   map[string]*module
	deps    map[*module][]*module // direct dependencies, in the order of symbols
	rank    map[*module]int       // topological order: a module before those that it uses
}

func newGraph(modules []*module) (*graph, error) {
	g := &graph{
		modules: modules,
		index:   map[*module]int{},
		owner:   map[string]*module{},
		deps:    map[*module][]*module{},
		rank:    map[*module]int{},
	}
	for i, x := range modules {
		g.index[x] = i
		for _, s := range x.info.exports {
			g.owner[s] = x
		}
	}
	users := map[*module]int{}
	for _, x := range modules {
		have := map[*module]bool{}
		for _, s := range x.info.needs {
			// On PowerPC, ".f" is the code of the function "f".
			if dep := g.owner[strings.TrimPrefix(s, ".")]; dep != nil && !have[dep] {
				have[dep] = true
				g.deps[x] = append(g.deps[x], dep)
				users[dep]++
			}
		}
	}
	return g, g.sort(users)
}

// sort ranks the modules. The stack gives depmod's order: modules that no other uses are
// taken from the last to the first.
func (g *graph) sort(users map[*module]int) error {
	var stack []*module
	for _, x := range g.modules {
		if users[x] == 0 {
			stack = append(stack, x)
		}
	}
	for len(stack) > 0 {
		x := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		g.rank[x] = len(g.rank)
		for _, dep := range g.deps[x] {
			if users[dep]--; users[dep] == 0 {
				stack = append(stack, dep)
			}
		}
	}
	if len(g.rank) == len(g.modules) {
		return nil
	}
	var cycle []string
	for _, x := range g.modules {
		if users[x] > 0 {
			cycle = append(cycle, x.name)
		}
	}
	return fmt.Errorf("dependency cycle among the modules %s", strings.Join(cycle, ", "))
}

// all returns the dependencies of x, direct and indirect, users before what they use.
func (g *graph) all(x *module) []*module {
	seen := map[*module]bool{}
	var list []*module
	var visit func(*module)
	visit = func(x *module) {
		for _, dep := range g.deps[x] {
			if !seen[dep] {
				seen[dep] = true
				list = append(list, dep)
				visit(dep)
			}
		}
	}
	visit(x)
	slices.SortFunc(list, func(a, b *module) int { return g.rank[a] - g.rank[b] })
	return list
}

// depLine is the line for x in modules.dep.
func (g *graph) depLine(x *module) string {
	var b strings.Builder
	b.WriteString(x.rel)
	b.WriteByte(':')
	for _, dep := range g.all(x) {
		b.WriteByte(' ')
		b.WriteString(dep.rel)
	}
	return b.String()
}

func (g *graph) depText() []byte {
	var b bytes.Buffer
	for _, x := range g.modules {
		b.WriteString(g.depLine(x))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func (g *graph) depTrie(root *trieNode) error {
	for i, x := range g.modules {
		if err := root.insert(x.name, g.depLine(x), i); err != nil {
			return err
		}
	}
	return nil
}

// infoText writes a heading, followed by the lines of every module.
func (g *graph) infoText(heading string, lines func(b *bytes.Buffer, x *module)) []byte {
	b := bytes.NewBufferString(heading)
	for _, x := range g.modules {
		lines(b, x)
	}
	return b.Bytes()
}

func aliasLines(b *bytes.Buffer, x *module) {
	for _, v := range x.info.aliases {
		fmt.Fprintf(b, "alias %s %s\n", v, x.name)
	}
}

func softdepLines(b *bytes.Buffer, x *module) {
	for _, v := range x.info.softdeps {
		fmt.Fprintf(b, "softdep %s %s\n", x.name, v)
	}
}

func weakdepLines(b *bytes.Buffer, x *module) {
	for _, v := range x.info.weakdeps {
		fmt.Fprintf(b, "weakdep %s %s\n", x.name, v)
	}
}

func (g *graph) aliasTrie(root *trieNode) error {
	for i, x := range g.modules {
		for _, v := range x.info.aliases {
			alias, ok := normaliseAlias(v)
			if !ok {
				continue
			}
			if err := root.insert(alias, x.name, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *graph) symbolText() []byte {
	b := bytes.NewBufferString("# Aliases for symbols, used by symbol_request().\n")
	for _, s := range slices.Sorted(maps.Keys(g.owner)) {
		fmt.Fprintf(b, "alias symbol:%s %s\n", s, g.owner[s].name)
	}
	return b.Bytes()
}

func (g *graph) symbolTrie(root *trieNode) error {
	for s, x := range g.owner {
		if err := root.insert("symbol:"+s, x.name, g.index[x]); err != nil {
			return err
		}
	}
	return nil
}

// devnameText lists device nodes whose first use loads a module. A module declares one by
// two aliases, such as "devname:loop-control" and "char-major-10-237".
func (g *graph) devnameText() []byte {
	var b bytes.Buffer
	for _, x := range g.modules {
		name, number := devname(x.info.aliases)
		if name == "" || number == "" {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("# Device nodes to trigger on-demand module loading.\n")
		}
		fmt.Fprintf(&b, "%s %s %s\n", x.name, name, number)
	}
	return b.Bytes()
}

// devname returns the name and the number, such as "c10:237", of a module's device node.
// Like depmod it stops at the first alias that completes the pair.
func devname(aliases []string) (name, number string) {
	for _, a := range aliases {
		var major, minor uint32
		if n, ok := strings.CutPrefix(a, "devname:"); ok {
			name = n
		} else if n, _ := fmt.Sscanf(a, "char-major-%d-%d", &major, &minor); n == 2 {
			number = fmt.Sprintf("c%d:%d", major, minor)
		} else if n, _ := fmt.Sscanf(a, "block-major-%d-%d", &major, &minor); n == 2 {
			number = fmt.Sprintf("b%d:%d", major, minor)
		}
		if name != "" && number != "" {
			break
		}
	}
	return name, number
}
