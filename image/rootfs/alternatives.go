package rootfs

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// choice is one call of update-alternatives --install; man pages and the like are its
// slaves.
type choice struct {
	pkg      string
	link     string // the generic name: /usr/bin/pager
	target   string // what provides it: /usr/bin/less
	priority int
	slaves   []slave // links that follow the master
}

// slave is a link that follows its master. name is the link's name in /etc/alternatives; ""
// is the base name of link.
type slave struct{ link, target, name string }

func (c choice) name() string { return path.Base(c.link) }

func (v slave) nameOf() string {
	if v.name != "" {
		return v.name
	}
	return path.Base(v.link)
}

const man = "/usr/share/man/"

var choices = slices.Concat([]choice{
	{"bash", man + "man7/builtins.7.gz", man + "man7/bash-builtins.7.gz", 10, nil},
	{"mawk", "/usr/bin/awk", "/usr/bin/mawk", 5, []slave{
		{"/usr/bin/nawk", "/usr/bin/mawk", ""},
		{man + "man1/awk.1.gz", man + "man1/mawk.1.gz", ""},
		{man + "man1/nawk.1.gz", man + "man1/mawk.1.gz", ""},
	}},
	{"less", "/usr/bin/pager", "/usr/bin/less", 77, []slave{{man + "man1/pager.1.gz", man + "man1/less.1.gz", ""}}},
	{"util-linux", "/usr/bin/pager", "/bin/more", 50, []slave{{man + "man1/pager.1.gz", man + "man1/more.1.gz", ""}}},
	{"tar", "/usr/sbin/rmt", "/usr/sbin/rmt-tar", 50, []slave{{man + "man8/rmt.8.gz", man + "man8/rmt-tar.8.gz", ""}}},
	{"debianutils", "/usr/bin/which", "/usr/bin/which.debianutils", 0, whichPages()},
	{"xz-utils", "/usr/bin/lzma", "/usr/bin/xz", 20, lzmaSlaves()},
},
	tables("ip", "legacy", 10), tables("ip6", "legacy", 10),
	tables("ip", "nft", 20), tables("ip6", "nft", 20),
	tables("arp", "nft", 20), tables("eb", "nft", 20),
)

// whichPages lists the manual pages of which, in every language that has one.
func whichPages() []slave {
	pages := []slave{{man + "man1/which.1.gz", man + "man1/which.debianutils.1.gz", ""}}
	for _, lang := range []string{"de", "es", "fr", "it", "ja", "pl", "sl"} {
		dir := man + lang + "/man1/"
		pages = append(pages, slave{dir + "which.1.gz", dir + "which.debianutils.1.gz", "which." + lang + "1.gz"})
	}
	return pages
}

func lzmaSlaves() []slave {
	slaves := []slave{
		{man + "man1/lzma.1.gz", man + "man1/xz.1.gz", ""},
		{"/usr/bin/unlzma", "/usr/bin/unxz", ""},
		{man + "man1/unlzma.1.gz", man + "man1/unxz.1.gz", ""},
	}
	for _, util := range []string{"cat", "more", "less", "diff", "cmp", "grep", "egrep", "fgrep"} {
		slaves = append(slaves,
			slave{"/usr/bin/lz" + util, "/usr/bin/xz" + util, ""},
			slave{man + "man1/lz" + util + ".1.gz", man + "man1/xz" + util + ".1.gz", ""})
	}
	return slaves
}

// tables lists the three programs of iptables, ip6tables and the like.
func tables(family, variant string, priority int) []choice {
	generic := "/usr/sbin/" + family + "tables"
	real := generic + "-" + variant
	return []choice{{"iptables", generic, real, priority, []slave{
		{generic + "-restore", real + "-restore", ""},
		{generic + "-save", real + "-save", ""},
	}}}
}

// alternatives links the provider with the highest priority, as update-alternatives(1) does
// in automatic mode. Slaves whose target is missing, such as a pruned manual page, get no
// link.
func alternatives(s *state) error {
	for _, name := range s.alternativeNames() {
		best := slices.MaxFunc(s.providers(name), func(a, b choice) int { return a.priority - b.priority })
		if err := s.alternative(name, best.link, best.target); err != nil {
			return err
		}
		for _, v := range best.slaves {
			if !s.resolves(v.target) {
				continue
			}
			if err := s.alternative(v.nameOf(), v.link, v.target); err != nil {
				return err
			}
		}
	}
	return nil
}

// alternativeNames lists the masters that have a provider in the tree, sorted.
func (s *state) alternativeNames() []string {
	var names []string
	for _, c := range choices {
		if s.has(c.pkg) && s.resolves(c.target) {
			names = append(names, c.name())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (s *state) providers(name string) []choice {
	var found []choice
	for _, c := range choices {
		if c.name() == name && s.has(c.pkg) && s.resolves(c.target) {
			found = append(found, c)
		}
	}
	return found
}

// resolves reports whether p exists once links are followed.
func (s *state) resolves(p string) bool {
	_, err := s.tree.Resolve(p)
	return err == nil
}

func (s *state) alternative(name, link, target string) error {
	indirect := "/etc/alternatives/" + name
	return firstError(s.defaultLink(link, indirect), s.defaultLink(indirect, target))
}

// alternativeRecord is the file that update-alternatives keeps about one name: mode,
// master, slaves, a blank line, then every provider with its priority and slaves.
func (s *state) alternativeRecord(name string) string {
	providers := s.providers(name)
	slices.SortFunc(providers, func(a, b choice) int { return strings.Compare(a.target, b.target) })
	links := map[string]string{}
	for _, c := range providers {
		for _, v := range c.slaves {
			links[v.nameOf()] = v.link
		}
	}
	var slaves []string
	for slave := range links {
		slaves = append(slaves, slave)
	}
	slices.Sort(slaves)
	var b strings.Builder
	fmt.Fprintf(&b, "auto\n%s\n", providers[0].link)
	for _, slave := range slaves {
		fmt.Fprintf(&b, "%s\n%s\n", slave, links[slave])
	}
	b.WriteString("\n")
	for _, c := range providers {
		fmt.Fprintf(&b, "%s\n%d\n", c.target, c.priority)
		for _, slave := range slaves {
			b.WriteString(c.slaveTarget(slave) + "\n")
		}
	}
	b.WriteString("\n")
	return b.String()
}

func (c choice) slaveTarget(name string) string {
	for _, v := range c.slaves {
		if v.nameOf() == name {
			return v.target
		}
	}
	return ""
}
