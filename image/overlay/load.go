package overlay

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/suites"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// loader turns one overlay.yaml and its files into an Overlay.
type loader struct {
	name string
	doc  *strictyaml.Document
	file file
	out  *Overlay
}

func (l *loader) load(fsys fs.FS) (*Overlay, error) {
	f := &l.file
	l.out = &Overlay{
		Name: l.name, Description: f.Description, Files: tree.New(),
		Requires: f.Requires, Packages: f.Packages, Components: f.Components, Images: f.Images, Suites: f.Suites,
		Modules: f.Modules, ModulesLoad: f.ModulesLoad,
		Enable: f.Enable, Disable: f.Disable, Mask: f.Mask,
		Groups: f.Groups, Prune: f.Prune, Cmdline: f.Cmdline,
		AcceptUnmodelled: f.AcceptUnmodelled,
	}
	for _, step := range []func() error{l.checkScalars, l.checkNames, l.users, l.etcPersist, l.addDirs} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if err := l.addFiles(fsys); err != nil {
		return nil, err
	}
	if err := l.addLinks(); err != nil {
		return nil, err
	}
	return l.out, l.checkModesUsed()
}

func (l *loader) checkScalars() error {
	if l.file.Version != 1 {
		return l.doc.Errorf([]string{"version"}, "must be 1, the only version this program reads")
	}
	if l.file.Description == "" {
		return l.doc.Errorf([]string{"description"}, "is missing: say in one line what the overlay is for")
	}
	if field, problem := suites.Problem(l.file.Suites); problem != "" {
		return l.doc.Errorf(strings.Split("suites."+field, "."), "%s", problem)
	}
	if i, err := reference.Problem(l.file.Images); err != nil {
		return l.doc.Errorf([]string{"images", fmt.Sprint(i)}, "%v", err)
	}
	for _, pkg := range slices.Sorted(maps.Keys(l.file.AcceptUnmodelled)) {
		if strings.TrimSpace(l.file.AcceptUnmodelled[pkg]) == "" {
			return l.doc.Errorf([]string{"acceptUnmodelled", pkg}, "needs the reason why the package's scripts may be ignored")
		}
	}
	return nil
}

var (
	packagePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)                                                                            // Debian policy 5.6.1
	unitPattern    = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+\.(service|socket|target|timer|mount|automount|path|slice|swap|device|scope)$`) // systemd.unit(5)
	modulePattern  = regexp.MustCompile(`^[A-Za-z0-9_*?\[\]-]+$|^kernel/[A-Za-z0-9_/-]*/$`)
	loadPattern    = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	argPattern     = regexp.MustCompile(`^[\x21-\x7e]+$`)
)

// checkNames checks every entry of the plain lists against its pattern, and refuses
// duplicates.
func (l *loader) checkNames() error {
	f := &l.file
	for _, list := range []struct {
		field   string
		entries []string
		pattern *regexp.Regexp
		what    string
	}{
		{"requires", f.Requires, namePattern, "the name of an overlay"},
		{"packages", f.Packages, packagePattern, "the name of a Debian package"},
		{"components", f.Components, namePattern, "the name of a component"},
		{"modules", f.Modules, modulePattern, "a kernel module, a glob of such, or a directory like kernel/net/"},
		{"modulesLoad", f.ModulesLoad, loadPattern, "a kernel module"},
		{"enable", f.Enable, unitPattern, "a systemd unit with its suffix"},
		{"disable", f.Disable, unitPattern, "a systemd unit with its suffix"},
		{"mask", f.Mask, unitPattern, "a systemd unit with its suffix"},
		{"cmdline", f.Cmdline, argPattern, "one kernel argument without spaces"},
	} {
		if err := l.checkList(list.field, list.entries, list.pattern, list.what); err != nil {
			return err
		}
	}
	return l.checkUnits()
}

func (l *loader) checkList(field string, entries []string, pattern *regexp.Regexp, what string) error {
	for i, e := range entries {
		at := []string{field, fmt.Sprint(i)}
		if !pattern.MatchString(e) {
			return l.doc.Errorf(at, "%q is not %s", e, what)
		}
		if slices.Index(entries, e) < i {
			return l.doc.Errorf(at, "%q is listed twice", e)
		}
	}
	return nil
}

// checkUnits refuses a unit that is in more than one of enable, disable and mask.
func (l *loader) checkUnits() error {
	for i, unit := range l.file.Mask {
		if slices.Contains(l.file.Enable, unit) || slices.Contains(l.file.Disable, unit) {
			return l.doc.Errorf([]string{"mask", fmt.Sprint(i)}, "%s is also listed under enable or disable", unit)
		}
	}
	for i, unit := range l.file.Disable {
		if slices.Contains(l.file.Enable, unit) {
			return l.doc.Errorf([]string{"disable", fmt.Sprint(i)}, "%s is also listed under enable", unit)
		}
	}
	return nil
}

var userPattern = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)

// reserved ids mean "no id" to chown(2) and to its older 16-bit variant; systemd refuses an
// account file with such an id.
func reserved(id uint32) bool { return id == 65535 || id == 4294967295 }

const reservedID = "65535 and 4294967295 mean no id at all: pin another"

func (l *loader) users() error {
	for i, u := range l.file.Users {
		at := []string{"users", fmt.Sprint(i)}
		switch {
		case !userPattern.MatchString(u.Name):
			return l.doc.Errorf(append(at, "name"), "%q is not a user name", u.Name)
		case u.UID == 0 || u.UID >= 65534:
			return l.doc.Errorf(append(at, "uid"), "pin an id from 1 to 65533: data on the node outlives the image")
		}
		out := User{Name: u.Name, UID: u.UID, GID: u.UID, Gecos: u.Gecos, Home: u.Home, Shell: u.Shell, Groups: u.Groups}
		if u.GID != nil {
			out.GID = *u.GID
		}
		if reserved(out.GID) {
			return l.doc.Errorf(append(at, "gid"), "%s", reservedID)
		}
		if out.Home == "" {
			out.Home = "/nonexistent"
		}
		if out.Shell == "" {
			out.Shell = "/usr/sbin/nologin"
		}
		l.out.Users = append(l.out.Users, out)
	}
	for i, g := range l.file.Groups {
		at := []string{"groups", fmt.Sprint(i)}
		if !userPattern.MatchString(g.Name) || g.GID == 0 {
			return l.doc.Errorf(at, "needs a name and a pinned gid")
		}
		if reserved(g.GID) {
			return l.doc.Errorf(append(at, "gid"), "%s", reservedID)
		}
	}
	return nil
}

func (l *loader) etcPersist() error {
	for i, p := range l.file.EtcPersist {
		rel, err := treePath(p)
		if err == nil && !strings.HasPrefix(rel, "etc/") {
			err = fmt.Errorf("%q is not below /etc", p)
		}
		if err != nil {
			return l.doc.Errorf([]string{"etcPersist", fmt.Sprint(i)}, "%s", err)
		}
		l.out.EtcPersist = append(l.out.EtcPersist, rel)
	}
	return nil
}

// treePath turns an absolute path of overlay.yaml into a path of a tree.
func treePath(p string) (string, error) {
	if len(p) < 2 || p[0] != '/' || path.Clean(p) != p {
		return "", fmt.Errorf("%q is not an absolute, clean path such as /etc/hosts", p)
	}
	return p[1:], nil
}

func (l *loader) source() string { return "overlay " + l.name }

// put adds a node and its missing parent directories.
func (l *loader) put(n *tree.Node) error {
	n.Source = l.source()
	if err := l.out.Files.MkdirAll(path.Dir(n.Path), time.Time{}, n.Source); err != nil {
		return err
	}
	return l.out.Files.Put(n)
}

func (l *loader) addDirs() error {
	for _, p := range slices.Sorted(maps.Keys(l.file.Dirs)) {
		at := []string{"dirs", p}
		rel, err := treePath(p)
		if err != nil {
			return l.doc.Errorf(at, "%s", err)
		}
		m := l.file.Dirs[p].or(0o755)
		n := &tree.Node{Path: rel, Mode: fs.ModeDir | m.perm}
		if n.UID, n.GID, err = l.owner(m); err != nil {
			return l.doc.Errorf(at, "%s", err)
		}
		if err := l.put(n); err != nil {
			return l.doc.Errorf(at, "%s", err)
		}
		l.out.Dirs = append(l.out.Dirs, rel)
	}
	return nil
}

func (l *loader) addLinks() error {
	for _, p := range slices.Sorted(maps.Keys(l.file.Links)) {
		at := []string{"links", p}
		rel, err := treePath(p)
		if err != nil {
			return l.doc.Errorf(at, "%s", err)
		}
		if l.file.Links[p] == "" {
			return l.doc.Errorf(at, "needs a target")
		}
		if l.out.Files.Get(rel) != nil {
			return l.doc.Errorf(at, "is also a file or directory of the overlay")
		}
		if err := l.put(&tree.Node{Path: rel, Mode: fs.ModeSymlink | 0o777, Link: l.file.Links[p]}); err != nil {
			return l.doc.Errorf(at, "%s", err)
		}
	}
	return nil
}

// checkModesUsed refuses modes for files that do not exist.
func (l *loader) checkModesUsed() error {
	for _, p := range slices.Sorted(maps.Keys(l.file.Modes)) {
		at := []string{"modes", p}
		rel, err := treePath(p)
		if err != nil {
			return l.doc.Errorf(at, "%s", err)
		}
		if n := l.out.Files.Get(rel); n == nil || !n.Mode.IsRegular() {
			return l.doc.Errorf(at, "no such file below files/ (directories stand under dirs)")
		}
	}
	return nil
}
