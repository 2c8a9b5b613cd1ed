//go:build network

package gate_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/apt"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/rootfs/gate"
	"github.com/going-mobile/imagebuilder/overlays"
)

// TestRealPackages passes through the gate what the built-in boards, with all
// overlays that there are, install of today's release on each architecture. It
// needs a mirror, the host's own, and fills the user's cache:
//
//	go test -tags network -run TestRealPackages ./image/rootfs/gate
func TestRealPackages(t *testing.T) {
	c, err := fetch.OpenCache("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	want, accept := wanted(t)
	for arch, names := range want {
		t.Run(arch, func(t *testing.T) {
			pkgs := decoded(t, c, resolved(t, c, arch, names))
			if _, err := gate.Check(pkgs, accept[arch]); err != nil {
				t.Error(err)
			}
			t.Logf("%d packages", len(pkgs))
		})
	}
}

// wanted returns the packages to install, and those whose scripts are accepted
// as they are, by architecture.
func wanted(t *testing.T) (packages map[string][]string, accept map[string]map[string]string) {
	packages, accept = map[string][]string{}, map[string]map[string]string{}
	all, err := overlay.LoadAll(overlays.FS, overlay.Names(overlays.FS))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range board.Names(boards.FS) {
		b, err := board.Load(name, boards.FS)
		if err != nil {
			t.Fatal(err)
		}
		if accept[b.Arch] == nil {
			accept[b.Arch] = map[string]string{}
		}
		names := append(packages[b.Arch], b.Kernel.Package)
		names = append(names, b.Packages...)
		maps.Copy(accept[b.Arch], b.AcceptUnmodelled)
		for _, o := range all {
			names = append(names, o.Packages...)
			maps.Copy(accept[b.Arch], o.AcceptUnmodelled)
		}
		slices.Sort(names)
		packages[b.Arch] = slices.Compact(names)
	}
	return packages, accept
}

func resolved(t *testing.T, c *fetch.Cache, arch string, names []string) []*apt.Package {
	t.Helper()
	const suite = "trixie"
	mirrors, err := apt.HostMirrors(arch, suite)
	if err != nil {
		t.Fatal(err)
	}
	var suites []apt.Suite
	for _, name := range []string{suite, suite + "-updates", suite + "-security"} {
		suites = append(suites, apt.Suite{Name: name, Mirrors: mirrors.For(name), Components: []string{"main", "non-free-firmware"}})
	}
	archive, err := apt.Load(t.Context(), c, suites, arch, apt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { archive.Close() })
	pkgs, err := archive.Resolve(names, map[string][]string{"linux-image-*": {"linux-initramfs-tool"}})
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}

func decoded(t *testing.T, c *fetch.Cache, pkgs []*apt.Package) []*deb.Package {
	t.Helper()
	var mu sync.Mutex
	var out []*deb.Package
	err := apt.Fetch(t.Context(), c, pkgs, apt.FetchOptions{}, func(_ *apt.Package, file *fetch.File) error {
		d, err := deb.Decode(t.Context(), c, file, progress.Discard)
		mu.Lock()
		defer mu.Unlock()
		out = append(out, d)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(out, func(a, b *deb.Package) int { return strings.Compare(a.Name, b.Name) })
	return out
}
