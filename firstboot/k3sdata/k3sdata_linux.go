// Package k3sdata keeps the files that k3s unpacks from itself intact and few: some 200 MB for each
// version, in DIR/HASH/bin, with the symbolic links DIR/current and DIR/previous, and DIR/cni full
// of symbolic links into one version (k3s' cmd/k3s/main.go, extract).
//
// k3s writes all this without fsync, and later checks only whether the directory exists. ext4 may
// write names to the disk half a minute before the content of the files: if power fails in between,
// k3s stays an empty file for good. Nor does k3s ever remove a version.
package k3sdata

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/dirsync"
)

// Dir is where k3s unpacks itself.
const Dir = "/var/lib/rancher/k3s/data"

// whole is a file in a version that was completely on the disk when the file was made.
const whole = ".imagebuilder-whole"

// half is the suffix of a version that is not complete. It is k3s' own suffix, and k3s removes such
// directories too.
const half = "-tmp"

var version = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Prune runs before k3s starts for the first time since the machine started. It removes versions
// that a power cut may have damaged, and versions that no link leads to. done is a file that does
// not outlive the machine's run. While it exists Prune does nothing: until the machine stops, an
// unmarked version is intact, and running pods may have their programs in it.
//
// k3s updates its links, including those in cni, only when it unpacks. If the version that current
// leads to is removed, as after a fallback from a version that never ran, all others are removed
// too.
func Prune(dir, done string) error {
	if _, err := os.Lstat(done); err == nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	used := links(dir, entries)
	if current, err := os.Readlink(filepath.Join(dir, "current")); err == nil && !keeps(dir, filepath.Base(current), used) {
		used = nil
	}
	for _, e := range entries {
		if name := e.Name(); e.IsDir() && !keeps(dir, name, used) {
			if err := remove(filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("remove what is left of k3s: %w", err)
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(done), 0o755); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o644)
}

func keeps(dir, name string, used map[string]bool) bool {
	hash, cut := strings.CutSuffix(name, half)
	if !version.MatchString(hash) {
		return true // other directories of k3s
	}
	return !cut && used[name] && marked(filepath.Join(dir, name))
}

// links returns the versions that links in dir lead to.
func links(dir string, entries []fs.DirEntry) map[string]bool {
	used := map[string]bool{}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			used[filepath.Base(target)] = true
		}
	}
	return used
}

// remove renames a directory to a half one first: k3s takes a directory with a version's name for
// complete.
func remove(dir string) error {
	if !strings.HasSuffix(dir, half) {
		left := dir + half
		if err := os.RemoveAll(left); err != nil {
			return err
		}
		if err := os.Rename(dir, left); err != nil {
			return err
		}
		dir = left
	}
	return os.RemoveAll(dir)
}

// Mark records, once k3s runs, that the version it runs from is completely on the disk.
func Mark(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var unmarked []string
	for _, e := range entries {
		if name := filepath.Join(dir, e.Name()); e.IsDir() && version.MatchString(e.Name()) && !marked(name) {
			unmarked = append(unmarked, name)
		}
	}
	if len(unmarked) == 0 {
		return nil
	}
	if err := dirsync.FileSystem(dir); err != nil {
		return fmt.Errorf("write what k3s has unpacked to the disk: %w", err)
	}
	for _, name := range unmarked {
		if err := os.WriteFile(filepath.Join(name, whole), nil, 0o644); err != nil {
			return err
		}
		if err := dirsync.Dir(name); err != nil {
			return err
		}
	}
	return nil
}

func marked(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, whole))
	return err == nil
}
