package inspect

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/deb822"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// Package is an installed Debian package.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	// Size in bytes of those of its files that are in the root, uncompressed.
	Size int64 `json:"size"`
}

// Packages reads the dpkg database of a root. The result is sorted by name.
func Packages(root *tree.Tree) ([]Package, error) {
	data, err := root.ReadAll(contract.DpkgDir + "/status")
	if err != nil {
		return nil, fmt.Errorf("dpkg database: %w", err)
	}
	list, err := installed(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("dpkg database: %w", err)
	}
	for i := range list {
		if list[i].Size, err = installedSize(root, list[i]); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// installed reads one paragraph at a time: parsing all of them, with all fields, into maps
// would let a hostile text use a hundred times its size in memory.
func installed(status io.Reader) (list []Package, err error) {
	kept := func(name []byte) bool {
		return slices.Contains([]string{"package", "version", "architecture", "status"}, string(name))
	}
	for r := deb822.NewReader(status, kept); ; {
		text, err := r.Next()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		f, err := deb822.Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("paragraph before line %d: %w", r.Line, err)
		}
		if f["package"] != "" && strings.HasSuffix(f["status"], " installed") {
			list = append(list, Package{Name: f["package"], Version: f["version"], Arch: f["architecture"]})
		}
	}
}

// fileList returns dpkg's file list of a package, or nil if there is none.
func fileList(root *tree.Tree, p Package) ([]byte, error) {
	for _, name := range []string{p.Name + ".list", p.Name + ":" + p.Arch + ".list"} { // with Multi-Arch: same, the name has the architecture
		if name = path.Join(contract.DpkgDir, "info", name); root.Get(name) != nil {
			return root.ReadAll(name)
		}
	}
	return nil, nil
}

// installedSize sums the sizes of the files in a package's list that are still in the root.
func installedSize(root *tree.Tree, p Package) (int64, error) {
	list, err := fileList(root, p)
	if err != nil {
		return 0, err
	}
	var sum int64
	lines := bufio.NewScanner(bytes.NewReader(list))
	for lines.Scan() {
		real, err := root.RealPath(lines.Text())
		if err != nil {
			return 0, err
		}
		if n := root.Get(real); n != nil && n.Mode.IsRegular() && !n.IsHardLink() {
			sum += n.Size()
		}
	}
	return sum, lines.Err()
}

// Largest returns the n largest packages.
func Largest(list []Package, n int) []Package {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b Package) int { return cmp.Compare(b.Size, a.Size) })
	return sorted[:min(n, len(sorted))]
}

// Kernel returns the release of the root's kernel.
func Kernel(root *tree.Tree) (string, error) {
	for _, n := range root.Children("usr/lib/modules") {
		if n.Mode&fs.ModeDir != 0 {
			return path.Base(n.Path), nil
		}
	}
	return "", errors.New("the root has no kernel modules")
}
