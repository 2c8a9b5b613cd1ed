package overlay

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// DirHash is the digest of all files of the overlay in the directory name, as in-toto's
// dirHash defines it. In that directory, it is the output of
//
//	find . -type f | cut -c3- | LC_ALL=C sort | xargs sha256sum | sha256sum
func DirHash(fsys fs.FS, name string) (string, error) {
	sub, err := fs.Sub(fsys, name)
	if err != nil {
		return "", err
	}
	sums := map[string]string{}
	err = fs.WalkDir(sub, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || e.Name() == ".DS_Store" { // a link may lead anywhere, so nothing of it is in the image
			return err
		}
		content, _, err := openContent(sub, p)
		if err == nil {
			sums[p] = content.SHA256()
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("overlay %s: %w", name, err)
	}
	// Sort by name: the walk visits a/b before a-b.
	var list strings.Builder
	for _, p := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&list, "%s  %s\n", sums[p], p)
	}
	sum := sha256.Sum256([]byte(list.String()))
	return hex.EncodeToString(sum[:]), nil
}
