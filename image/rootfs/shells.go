package rootfs

import (
	"path"
	"slices"
	"strings"
)

// shells writes /etc/shells as update-shells(8) does: the template, then each shell of
// shells.d that the template lacks, by its own path and by its real path.
func shells(s *state) error {
	const base = "usr/share/debianutils/shells"
	text, err := s.text(base)
	if err != nil || text == "" {
		return err
	}
	listed := shellPaths(text)
	known := slices.Clone(listed)
	for _, source := range append([]string{base}, s.shellFiles(base+".d")...) {
		t, err := s.text(source)
		if err != nil {
			return err
		}
		for _, shell := range shellPaths(t) {
			real, err := s.realDir(shell)
			if err != nil {
				return err
			}
			known = append(known, shell, real)
		}
	}
	for _, shell := range known {
		if !slices.Contains(listed, shell) {
			listed = append(listed, shell)
			text += shell + "\n"
		}
	}
	return s.defaultFile("etc/shells", 0o644, text)
}

func (s *state) shellFiles(dir string) []string {
	var files []string
	for _, n := range s.tree.Children(dir) {
		files = append(files, n.Path)
	}
	return files
}

// realDir resolves the links in the directory of an absolute path.
func (s *state) realDir(p string) (string, error) {
	real, err := s.real(p)
	return path.Join("/", real), err
}

// shellPaths returns the paths of a text in the format of shells(5).
func shellPaths(text string) []string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line != "" {
			out = append(out, line)
		}
	}
	return out
}
