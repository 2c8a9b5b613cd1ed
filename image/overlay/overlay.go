// Package overlay reads overlays, which are applied on top of the Debian packages to make a
// node. An overlay is a directory with overlay.yaml, its declarations, and files/, a tree
// of plain files.
//
// An overlay is only data. It has no scripts that run during a build, no templates and no
// conditions, and nothing depends on the host: modes and owners of the directory on the
// host are ignored, symbolic links in it are refused.
package overlay

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/suites"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// Overlay is one checked overlay. Paths are relative to the root, without a leading slash
// ("etc/machine-id"). Lists keep the order of the file.
type Overlay struct {
	Name        string
	Description string

	// Files holds the files, directories and links to put over those of the packages. It
	// includes directories that only lead to a file, as 0755 root:root. Modification times
	// are zero: the build sets its own date.
	Files *tree.Tree
	// Dirs are the directories of Files that overlay.yaml declares, sorted.
	Dirs []string

	Requires   []string // overlays that must come before this one
	Packages   []string // Debian packages to install
	Components []string // names in package component, such as k3s
	Images     []string // container images to include, which k3s then needs no registry for
	// Suites are other suites for named packages that are too old in the board's release.
	Suites []suites.Suite
	// Modules lists kernel modules to keep in the root in addition to the board's: names,
	// globs, or directories ending in "/".
	Modules     []string
	ModulesLoad []string // modules that systemd loads at boot

	Enable, Disable, Mask []string // systemd units

	Users  []User
	Groups []Group

	// EtcPersist lists paths below etc whose changes on the node are kept across reboots
	// and updates; everything else in etc belongs to the image.
	EtcPersist []string
	Prune      []string // patterns of package image/prune
	Cmdline    []string // kernel command line arguments

	// AcceptUnmodelled maps a package to the reason why its maintainer
	// scripts may be ignored.
	AcceptUnmodelled map[string]string
}

// User is a system user. Its ids are pinned, because /var outlives the image.
type User struct {
	Name     string
	UID, GID uint32
	Gecos    string
	Home     string // absolute; "/nonexistent" by default
	Shell    string // absolute; "/usr/sbin/nologin" by default
	Groups   []string
}

// Group is a system group without a user of the same name. Every User also has a group with
// its name and GID, unless that GID belongs to another group.
type Group struct {
	Name string
	GID  uint32
}

// file is the content of overlay.yaml.
type file struct {
	Version          int               `yaml:"version"`
	Description      string            `yaml:"description"`
	Requires         []string          `yaml:"requires"`
	Packages         []string          `yaml:"packages"`
	Components       []string          `yaml:"components"`
	Images           []string          `yaml:"images"`
	Suites           []suites.Suite    `yaml:"suites"`
	Modules          []string          `yaml:"modules"`
	ModulesLoad      []string          `yaml:"modulesLoad"`
	Enable           []string          `yaml:"enable"`
	Disable          []string          `yaml:"disable"`
	Mask             []string          `yaml:"mask"`
	Users            []fileUser        `yaml:"users"`
	Groups           []Group           `yaml:"groups"`
	Modes            map[string]mode   `yaml:"modes"`
	Links            map[string]string `yaml:"links"`
	Dirs             map[string]mode   `yaml:"dirs"`
	EtcPersist       []string          `yaml:"etcPersist"`
	Prune            []string          `yaml:"prune"`
	Cmdline          []string          `yaml:"cmdline"`
	AcceptUnmodelled map[string]string `yaml:"acceptUnmodelled"`
}

type fileUser struct {
	Name   string   `yaml:"name"`
	UID    uint32   `yaml:"uid"`
	GID    *uint32  `yaml:"gid"`
	Gecos  string   `yaml:"gecos"`
	Home   string   `yaml:"home"`
	Shell  string   `yaml:"shell"`
	Groups []string `yaml:"groups"`
}

// UnknownError says that there is no overlay of that name. Nearest is a similar name or "".
type UnknownError struct {
	Name    string
	Nearest string
	Known   []string
}

func (e *UnknownError) Error() string {
	msg := fmt.Sprintf("unknown overlay %q", e.Name)
	if e.Nearest != "" {
		msg += fmt.Sprintf("; did you mean %q?", e.Nearest)
	}
	return msg + " (overlays: " + strings.Join(e.Known, ", ") + ")"
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)

// Names lists the overlays in fsys, sorted.
func Names(fsys fs.FS) []string {
	files, _ := fs.Glob(fsys, "*/overlay.yaml")
	for i, f := range files {
		files[i] = path.Dir(f)
	}
	slices.Sort(files)
	return files
}

// Load reads the overlay called name from fsys. It does not load the overlays that this one
// requires; see LoadAll.
func Load(fsys fs.FS, name string) (*Overlay, error) {
	if !namePattern.MatchString(name) {
		return nil, fmt.Errorf("overlay %q: a name consists of a-z, 0-9 and -", name)
	}
	at := path.Join(name, "overlay.yaml")
	data, err := fs.ReadFile(fsys, at)
	if err != nil {
		known := Names(fsys)
		if !slices.Contains(known, name) {
			return nil, &UnknownError{Name: name, Nearest: nearest.Name(name, known), Known: known}
		}
		return nil, fmt.Errorf("overlay %s: %w", name, err)
	}
	if err := refuseLinks(fsys, name, path.Join(name, "files"), at); err != nil {
		return nil, err
	}
	doc, err := strictyaml.Parse(at, data)
	if err != nil {
		return nil, err
	}
	var f file
	if err := doc.Decode(&f); err != nil {
		return nil, err
	}
	l := &loader{name: name, doc: doc, file: f}
	return l.load(fsys)
}

// LoadAll loads the named overlays and, before each, those that it requires. The result
// contains each overlay once.
func LoadAll(fsys fs.FS, names []string) ([]*Overlay, error) {
	r := resolver{fsys: fsys, done: map[string]bool{}}
	for _, name := range names {
		if err := r.add(name, nil); err != nil {
			return nil, err
		}
	}
	return r.out, nil
}

// Images returns one list of the container images in asked, from a board or a command, and
// of those in overlays.
func Images(asked []string, all []*Overlay) ([]reference.Reference, error) {
	list := slices.Clone(asked)
	for _, o := range all {
		list = append(list, o.Images...)
	}
	return reference.Join(list)
}

type resolver struct {
	fsys fs.FS
	done map[string]bool
	out  []*Overlay
}

// add appends an overlay after its requirements. chain has the overlays that led to this
// one, to detect cycles.
func (r *resolver) add(name string, chain []string) error {
	if i := slices.Index(chain, name); i >= 0 {
		return fmt.Errorf("overlays require each other in a circle: %s", strings.Join(append(chain[i:], name), " → "))
	}
	if r.done[name] {
		return nil
	}
	o, err := Load(r.fsys, name)
	if err != nil && len(chain) > 0 {
		return fmt.Errorf("overlay %s requires %s: %w", chain[len(chain)-1], name, err)
	}
	if err != nil {
		return err
	}
	chain = append(slices.Clone(chain), name)
	for _, need := range o.Requires {
		if err := r.add(need, chain); err != nil {
			return err
		}
	}
	r.done[name] = true
	r.out = append(r.out, o)
	return nil
}

// FS joins file systems with overlays. An overlay is taken as a whole from the first one
// that has it, so that a user's overlay can replace a built-in one.
func FS(from ...fs.FS) fs.FS { return joined(from) }

type joined []fs.FS

// owner returns the file system that an overlay is taken from.
func (j joined) owner(op, name string) (fs.FS, error) {
	overlay, _, _ := strings.Cut(name, "/")
	for _, fsys := range j {
		if _, err := fs.Stat(fsys, path.Join(overlay, "overlay.yaml")); err == nil {
			return fsys, nil
		}
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

func (j joined) Open(name string) (fs.File, error) {
	fsys, err := j.owner("open", name)
	if err != nil {
		return nil, err
	}
	return fsys.Open(name)
}

// ReadDir lists the overlays of all file systems, or a directory of one overlay.
func (j joined) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		fsys, err := j.owner("readdir", name)
		if err != nil {
			return nil, err
		}
		return fs.ReadDir(fsys, name)
	}
	all := map[string]fs.DirEntry{}
	for _, fsys := range j {
		entries, err := fs.ReadDir(fsys, ".")
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if _, ok := all[e.Name()]; !ok {
				all[e.Name()] = e
			}
		}
	}
	out := make([]fs.DirEntry, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out, nil
}
