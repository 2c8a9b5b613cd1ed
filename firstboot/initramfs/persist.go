package initramfs

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// pruneLayer deletes everything from the upper layer of /etc in dir that keep does not list:
// whatever stayed would hide the files of every newer image. A whiteout, which marks a deleted
// file, is judged by the name that it hides. Directories stay only around something that is kept.
// gone lists what was deleted, as paths below /etc.
func pruneLayer(keep contract.Persist, dir string) (gone []string, err error) {
	l := layer{keep: keep}
	_, err = l.pruneDir(dir, "/etc")
	return l.gone, err
}

type layer struct {
	keep contract.Persist
	gone []string
}

// pruneDir reports whether anything is left in the directory.
func (l *layer) pruneDir(dir, name string) (left bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return true, err
	}
	for _, e := range entries {
		stays, err := l.pruneEntry(filepath.Join(dir, e.Name()), path.Join(name, e.Name()), e)
		if err != nil {
			return true, err
		}
		left = left || stays
	}
	return left, nil
}

func (l *layer) pruneEntry(file, name string, e fs.DirEntry) (stays bool, err error) {
	if e.IsDir() {
		left, err := l.pruneDir(file, name)
		if err != nil || left || l.keep.Keeps(name) || l.keep.Keeps(name+"/") {
			return true, err
		}
		return false, os.Remove(file)
	}
	if l.keep.Keeps(name) {
		return true, nil
	}
	l.gone = append(l.gone, name)
	return false, os.Remove(file)
}
