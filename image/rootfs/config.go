package rootfs

import (
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// configFile is one file of a configuration directory.
type configFile struct {
	path string // in the tree
	text string
}

// configFiles reads KIND.d directories as systemd does: files of the wanted
// ending in /etc, /usr/local/lib and /usr/lib, sorted by name; of one name the
// first directory's counts, and an empty file or a link to /dev/null hides the
// others. kind is a path such as "tmpfiles.d" or "systemd/system-preset".
func (s *state) configFiles(kind, ending string) ([]configFile, error) {
	found := map[string]*tree.Node{}
	for _, base := range []string{"etc", "usr/local/lib", "usr/lib"} {
		for _, n := range s.tree.Children(path.Join(base, kind)) {
			name := path.Base(n.Path)
			if found[name] == nil && strings.HasSuffix(name, ending) {
				found[name] = n
			}
		}
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	var files []configFile
	for _, name := range names {
		text, err := s.text(found[name].Path)
		if err != nil {
			return nil, err
		}
		files = append(files, configFile{found[name].Path, text})
	}
	return files, nil
}

// lines splits a configuration text into its lines without comments, which
// begin with # or ;, and blank ones.
func lines(text string) []string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' && line[0] != ';' {
			out = append(out, line)
		}
	}
	return out
}
