package check

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// programs checks that every executable and library finds its interpreter and libraries.
func (c *checker) programs() {
	machine := c.machine()
	for _, n := range c.nodes {
		if !mayRun(n) {
			continue
		}
		f := c.facts[n.Content.SHA256()]
		switch {
		case f.Script != "" && n.Mode&0o111 != 0:
			c.script(n, f.Script)
		case f.Broken != "":
			c.add(n, "is a damaged ELF file: %s", f.Broken)
		case f.Machine != "":
			c.program(n, f, machine)
		}
	}
}

// machine returns the ELF machine of PID 1, or "" if the root has none.
func (c *checker) machine() string {
	n, err := c.tree.Resolve("usr/lib/systemd/systemd")
	if err != nil || n.Content == nil {
		return ""
	}
	return c.facts[n.Content.SHA256()].Machine
}

func (c *checker) program(n *tree.Node, f fact, machine string) {
	if machine != "" && f.Machine != machine {
		c.add(n, "is a program for %s on a system for %s", f.Machine, machine)
		return
	}
	if f.Interp != "" && !c.reachable(f.Interp) {
		c.add(n, "needs %s, which is missing", f.Interp)
	}
	search := slices.Clone(loaderDirs)
	for _, p := range f.RunPath {
		p = strings.NewReplacer("$ORIGIN", "/"+path.Dir(n.Path), "${ORIGIN}", "/"+path.Dir(n.Path)).Replace(p)
		search = append(search, p)
	}
	if f.Interp == "" { // a plug-in's private library is often loaded before the plug-in
		search = append(search, path.Dir(n.Path))
	}
	for _, lib := range f.Needed {
		if !slices.ContainsFunc(search, func(dir string) bool { return c.reachable(path.Join(dir, lib)) }) {
			c.add(n, "needs the library %s, which is %s", lib, c.whereElse(lib))
		}
	}
}

// loaderDirs are the directories built into Debian's dynamic loader, for all architectures
// of images. The loader searches no others: those in ld.so.conf reach it only through
// ld.so.cache, which an image does not have.
var loaderDirs = []string{"/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"}

// whereElse says that a library is missing, or in which directory it is out of reach.
func (c *checker) whereElse(lib string) string {
	for _, n := range c.nodes {
		if path.Base(n.Path) == lib && !n.Mode.IsDir() {
			return "in /" + path.Dir(n.Path) + " alone, where the loader does not look (an image has no ld.so.cache): move it to /usr/lib/TRIPLET, such as /usr/lib/x86_64-linux-gnu, or link with a RUNPATH"
		}
	}
	return "missing"
}

// searchPath is where systemd and shells look for commands.
var searchPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"}

func (c *checker) script(n *tree.Node, line string) {
	if listed(optionalScripts, n.Path) {
		return
	}
	if strings.HasSuffix(line, "\r") {
		c.add(n, "has Windows line ends: nothing is called %q, so it would not start; save it with Unix line ends", line)
		return
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		c.add(n, "is a script that names no interpreter")
		return
	}
	program := words[0]
	if path.Base(program) == "env" {
		rest := slices.DeleteFunc(slices.Clone(words[1:]), func(w string) bool { return strings.HasPrefix(w, "-") || strings.Contains(w, "=") })
		if len(rest) == 0 {
			return
		}
		program = rest[0]
	}
	if !c.command(program) {
		c.add(n, "is a script for %s, which is missing; where nothing calls it, leave it out by prune: of an overlay or the board", program)
	}
}

// optionalScripts are scripts whose interpreter their package only suggests, and which
// nothing in an image calls.
var optionalScripts = []string{
	"etc/sv/*/*",                                  // for runit
	"usr/bin/routel",                              // iproute2: python3
	"usr/bin/rrsync", "usr/share/rsync/scripts/*", // rsync: python3 and perl
	"usr/sbin/mountstats", "usr/sbin/nfsiostat", "usr/sbin/rpcctl", // nfs-common: python3
	"usr/share/doc/**",
}

// optionalPrograms are called by units that run only if the program's package, which need
// not be installed, was set up.
var optionalPrograms = []string{
	"/usr/sbin/quotaon", // systemd's quotaon-root.service; package quota
}

// listed reports whether an entry of list matches p: exactly, as a pattern of path.Match,
// or as a directory followed by "/**".
func listed(list []string, p string) bool {
	return slices.ContainsFunc(list, func(pattern string) bool {
		if dir, ok := strings.CutSuffix(pattern, "**"); ok {
			return strings.HasPrefix(p, dir)
		}
		ok, _ := path.Match(pattern, p)
		return ok
	})
}

// command reports whether a program with this name can be run.
func (c *checker) command(name string) bool {
	if path.IsAbs(name) {
		return c.reachable(name)
	}
	return slices.ContainsFunc(searchPath, func(dir string) bool { return c.reachable(path.Join(dir, name)) })
}

// reachable reports whether p exists in the image, or may exist on a node because it is in
// one of nodesOwn.
func (c *checker) reachable(p string) bool {
	end, n := c.follow(p)
	return n != nil || isNodes(end)
}

// nodesOwn are the directories whose content only the node knows.
var nodesOwn = []string{"run", "proc", "sys", "dev", "var", "tmp"}

func isNodes(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return slices.Contains(nodesOwn, first)
}

// follow resolves all links of p. It returns the path at which they end, and the node there
// or nil.
func (c *checker) follow(p string) (string, *tree.Node) {
	for range 40 { // the kernel's limit
		real, err := c.tree.RealPath(p)
		if err != nil {
			return p, nil
		}
		n := c.tree.Get(real)
		if n == nil || n.Mode&fs.ModeSymlink == 0 {
			return real, n
		}
		p = n.Link
		if !path.IsAbs(p) {
			p = path.Join("/", path.Dir(real), p)
		}
	}
	return p, nil
}

// links finds symbolic links that lead nowhere.
func (c *checker) links() {
	for _, n := range c.nodes {
		if n.Mode&fs.ModeSymlink == 0 || isNodes(n.Path) {
			continue
		}
		if end, target := c.follow("/" + n.Path); target == nil && !isNodes(end) && "/"+end != "/dev/null" {
			c.add(n, "is a link to %s, and nothing is at /%s", n.Link, strings.TrimPrefix(end, "/"))
		}
	}
}
