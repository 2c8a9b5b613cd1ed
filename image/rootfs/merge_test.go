package rootfs

import (
	"context"
	"slices"
	"testing"

	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/overlay"
)

const baseLinks = `
	bin -> usr/bin
	lib -> usr/lib
	usr/bin/
	usr/lib/
`

func TestMergeFollowsTheLinksOfBaseFiles(t *testing.T) {
	tr, err := mergePackages([]*deb.Package{
		packageOf(t, "aaa", "lib/\n lib/x/\n lib/x/one: 1\n bin/two 4755 0 0: 2\n bin/three => bin/two"),
		packageOf(t, "base-files", baseLinks),
		packageOf(t, "zzz", "usr/lib/x/\n usr/lib/x/four: 4\n usr/lib/libz.so -> libz.so.1"),
	}, testEpoch)
	noErr(t, err)
	wantTree(t, tr, `
		bin -> usr/bin
		lib -> usr/lib
		usr/bin/three => usr/bin/two
		usr/bin/two 4755 0 0: 2
		usr/lib/libz.so -> libz.so.1
		usr/lib/x/four: 4
		usr/lib/x/one: 1`)
	if n := tr.Get("usr/bin/two"); n.Source != "aaa 1" {
		t.Errorf("source is %q", n.Source)
	}
}

func TestMergeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		a, b string
		want []string
	}{
		"one file twice":           {"usr/lib/f: 1", "lib/f: 1", []string{"/usr/lib/f", "aaa 1", "zzz 1"}},
		"file over directory":      {"usr/lib/f/", "lib/f: 1", []string{"aaa 1", "zzz 1"}},
		"directory over link":      {"usr/lib/f -> g", "lib/f/", []string{"aaa 1", "zzz 1"}},
		"file below a file":        {"usr/lib/f: 1", "lib/f/g: 1", []string{"usr/lib/f", "aaa 1"}},
		"link where a file was":    {"usr/lib/f: 1", "lib/f -> g", []string{"aaa 1", "zzz 1"}},
		"directory through a loop": {"usr/lib/f -> f", "usr/lib/f/g: 1", []string{"symbolic links"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mergePackages([]*deb.Package{packageOf(t, "base-files", baseLinks),
				packageOf(t, "aaa", c.a), packageOf(t, "zzz", c.b)}, testEpoch)
			wantErr(t, err, c.want...)
		})
	}
	_, err := mergePackages([]*deb.Package{packageOf(t, "aaa", ""), packageOf(t, "aaa", "")}, testEpoch)
	wantErr(t, err, "aaa", "twice")
	_, err = Finish(context.Background(), Input{Arch: "arm64", Packages: []*deb.Package{packageOf(t, "aaa", "")}})
	wantErr(t, err, "aaa", "amd64", "arm64")
}

func TestOverlaysLieOverPackages(t *testing.T) {
	s := stateOf(t, baseLinks+`
		etc/hosts: theirs
		etc/dir/ 0700 0 0`)
	noErr(t, layOverlays(s, []*overlay.Overlay{
		overlayOf(t, "one", "etc/hosts: ours\n lib/systemd/system/x.service: unit\n etc/dir/f: 1\n etc/both: same"),
		overlayOf(t, "two", "etc/both: same\n etc/own/ 2750 0 5\n usr/lib/l -> x"),
	}))
	wantTree(t, s.tree, `
		bin -> usr/bin
		etc/both: same
		etc/dir/ 0700 0 0
		etc/dir/f: 1
		etc/hosts: ours
		etc/own/ 2750 0 5
		lib -> usr/lib
		usr/lib/l -> x
		usr/lib/systemd/system/x.service: unit`)
	if n := s.tree.Get("etc/hosts"); !n.ModTime.Equal(testEpoch) || n.Source != "overlay one" {
		t.Errorf("etc/hosts is of %v from %q", n.ModTime, n.Source)
	}
	err := layOverlays(stateOf(t, ""), []*overlay.Overlay{overlayOf(t, "one", "etc/f: 1"), overlayOf(t, "two", "etc/f: 2")})
	wantErr(t, err, "/etc/f", "overlay one", "overlay two")
}

// TestOverlayOverAHardLinkedFile: the names that the overlay does not bring stay
// the package's, whichever of them it replaces and by what.
func TestOverlayOverAHardLinkedFile(t *testing.T) {
	for brought, want := range map[string]string{
		"usr/bin/bunzip2: ours":  "usr/bin/bunzip2: ours\n usr/bin/bzcat: theirs\n usr/bin/bzip2 => usr/bin/bzcat",
		"usr/bin/bunzip2 -> gun": "usr/bin/bunzip2 -> gun\n usr/bin/bzcat: theirs\n usr/bin/bzip2 => usr/bin/bzcat",
		"usr/bin/bzcat: ours":    "usr/bin/bunzip2: theirs\n usr/bin/bzcat: ours\n usr/bin/bzip2 => usr/bin/bunzip2",
	} {
		s := stateOf(t, "usr/bin/bunzip2: theirs\n usr/bin/bzcat => usr/bin/bunzip2\n usr/bin/bzip2 => usr/bin/bunzip2")
		noErr(t, layOverlays(s, []*overlay.Overlay{overlayOf(t, "one", brought)}))
		wantTree(t, s.tree, want)
	}
}

// TestEffectOverAHardLinkedFile: one that writes a file writes that name alone; a mode
// or a time is of the file, by all its names.
func TestEffectOverAHardLinkedFile(t *testing.T) {
	s := stateOf(t, "a: theirs\n b => a")
	noErr(t, s.restat("a", 0o600, 0, 0))
	noErr(t, clampTimes(s))
	wantTree(t, s.tree, "a 0600 0 0: theirs\n b => a")
	noErr(t, s.file("a", 0o644, "ours"))
	wantTree(t, s.tree, "a: ours\n b: theirs")
}

func TestMergeDoesNotDependOnOrder(t *testing.T) {
	packages := []*deb.Package{packageOf(t, "base-files", baseLinks), packageOf(t, "b", "usr/d/ 0750 0 0\n lib/b: 1"),
		packageOf(t, "a", "usr/d/\n usr/d/f: 1")}
	first, err := mergePackages(packages, testEpoch)
	noErr(t, err)
	slices.Reverse(packages)
	second, err := mergePackages(packages, testEpoch)
	noErr(t, err)
	if a, b := dump(first), dump(second); a != b {
		t.Errorf("%s\nand backwards\n%s", a, b)
	}
}
