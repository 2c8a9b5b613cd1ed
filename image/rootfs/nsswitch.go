package rootfs

import (
	"slices"
	"strings"
)

// nameService is a module that the scripts of a libnss package add to nsswitch.conf.
type nameService struct {
	pkg       string
	databases []string
	module    []string
	before    []string // the module goes before the first of these; empty: at the end
}

var nameServices = []nameService{
	{"libnss-systemd", []string{"passwd", "group", "shadow", "gshadow"}, []string{"systemd"}, nil},
	{"libnss-resolve", []string{"hosts"}, []string{"resolve", "[!UNAVAIL=return]"}, []string{"dns"}},
	{"libnss-myhostname", []string{"hosts"}, []string{"myhostname"}, []string{"resolve", "dns"}},
}

// nsswitch copies nsswitch.conf and adds the modules whose package is installed, at the
// place where the blocks of dh_installnss(1) add them.
func nsswitch(s *state) error {
	text, err := s.text("usr/share/libc-bin/nsswitch.conf")
	if err != nil || text == "" {
		return err
	}
	for _, ns := range nameServices {
		if !s.has(ns.pkg) {
			continue
		}
		for _, db := range ns.databases {
			text = insertModule(text, db, ns)
		}
	}
	return s.defaultFile("etc/nsswitch.conf", 0o644, text)
}

// insertModule adds ns to the line of the database db.
func insertModule(text, db string, ns nameService) string {
	rows := strings.Split(text, "\n")
	for i, row := range rows {
		rest, ok := strings.CutPrefix(row, db+":")
		if !ok {
			continue
		}
		modules := strings.Fields(rest)
		indent := rest[:len(rest)-len(strings.TrimLeft(rest, " \t"))]
		at := slices.IndexFunc(modules, func(m string) bool { return slices.Contains(ns.before, m) })
		if at < 0 {
			at = len(modules)
		}
		modules = slices.Insert(modules, at, ns.module...)
		rows[i] = db + ":" + indent + strings.Join(modules, " ")
	}
	return strings.Join(rows, "\n")
}
