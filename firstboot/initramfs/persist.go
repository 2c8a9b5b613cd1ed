package initramfs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// persist is the list of what may stay in the upper layer of /etc.
type persist []string

// parsePersist reads the format described at PersistList.
func parsePersist(text string) (persist, error) {
	var p persist
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if _, err := path.Match(line, ""); err != nil || !strings.HasPrefix(line, "/etc/") {
			return nil, fmt.Errorf("%s: %q is not a path or pattern below /etc", PersistList, line)
		}
		p = append(p, line)
	}
	return p, nil
}

// keeps reports whether the list names the path, given as "/etc/…".
func (p persist) keeps(name string) bool {
	for _, pattern := range p {
		if dir, ok := strings.CutSuffix(pattern, "/"); ok {
			if below(dir, name) {
				return true
			}
			continue
		}
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// below reports whether name or one of its parents matches the pattern dir.
func below(dir, name string) bool {
	for ; name != "/" && name != "."; name = path.Dir(name) {
		if ok, _ := path.Match(dir, name); ok {
			return true
		}
	}
	return false
}

// prune deletes from the upper layer in dir everything that the list does not
// keep: whatever stayed there would hide the files of every newer image. A
// whiteout, which marks a deleted file, is judged by the name it hides.
// Directories stay only around something that is kept. It returns what it
// deleted, as paths below /etc.
func (p persist) prune(dir string) (gone []string, err error) {
	_, err = p.pruneDir(dir, "/etc", &gone)
	return gone, err
}

// pruneDir reports whether anything is left in the directory.
func (p persist) pruneDir(dir, name string, gone *[]string) (left bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return true, err
	}
	for _, e := range entries {
		stays, err := p.pruneEntry(filepath.Join(dir, e.Name()), path.Join(name, e.Name()), e, gone)
		if err != nil {
			return true, err
		}
		left = left || stays
	}
	return left, nil
}

func (p persist) pruneEntry(file, name string, e fs.DirEntry, gone *[]string) (stays bool, err error) {
	if e.IsDir() {
		left, err := p.pruneDir(file, name, gone)
		if err != nil || left || p.keeps(name) || p.keeps(name+"/") {
			return true, err
		}
		return false, os.Remove(file)
	}
	if p.keeps(name) {
		return true, nil
	}
	*gone = append(*gone, name)
	return false, os.Remove(file)
}
