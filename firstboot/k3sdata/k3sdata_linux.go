// Package k3sdata keeps what k3s unpacks of itself whole, and little: some 200 MB for
// each version, in DIR/HASH/bin, with DIR/current and DIR/previous as links and DIR/cni
// full of links to one of them (k3s' cmd/k3s/main.go, extract).
//
// k3s writes all that without fsync, and later asks no more than whether the directory is
// there. ext4 may have the names on the disk half a minute before what is in the files:
// when power goes in between, k3s is an empty file for good. Nor does it ever remove a
// version.
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

// whole is a file in what was on the disk, all of it, when the file was made.
const whole = ".imagebuilder-whole"

// half ends the name of what is not whole: k3s' own word, and it removes such as well.
const half = "-tmp"

var version = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Prune removes, before k3s starts for the first time since the machine did, what a power
// cut may have spoilt and versions that nothing leads to. done is a file that does not
// outlive the machine's run: what is not marked is whole while that lasts, and pods that
// run may have their programs there.
//
// k3s turns its links, those in cni besides, only when it unpacks. Where the version that
// they lead to goes, as after a fall back from one that never ran, the others go as well.
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
		return true // k3s' other directories
	}
	return !cut && used[name] && marked(filepath.Join(dir, name))
}

// links finds the versions that links lead to.
func links(dir string, entries []fs.DirEntry) map[string]bool {
	used := map[string]bool{}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			used[filepath.Base(target)] = true
		}
	}
	return used
}

// remove makes a directory half a one first: k3s takes whatever has its name for whole.
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

// Mark notes, once k3s runs, that what it runs from is on the disk.
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
