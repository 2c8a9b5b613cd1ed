package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/lock"
)

var inputNames = []string{
	"lock", "locked", "strict", "registry-mirror", "mirror", "security-mirror", "allow-older-index", "component", "component-mirror", "cache",
}

// TestWhoeverBuildsTakesLocks, and the other input flags of "build".
func TestWhoeverBuildsTakesLocks(t *testing.T) {
	of := newBuild().Flags()
	for _, cmd := range []*cobra.Command{newFlash(), newReplace(), newResurrect(), newLab()} {
		for _, name := range inputNames {
			if f := cmd.Flags().Lookup(name); f == nil || !strings.HasSuffix(f.Usage, of.Lookup(name).Usage) {
				t.Errorf("%s: --%s is %+v", cmd.Name(), name, f)
			}
		}
	}
}

// ofBuildAlone are flags of "build" that errors of image name although other commands that
// build do not have them.
var ofBuildAlone = map[string]string{
	"out":               "the file whose trouble is told; others choose it themselves",
	"sign":              "others write a signed image with --image",
	"cert":              "as sign",
	"package":           "one of the places that may ask for a package",
	"images":            "one of the places that may ask for a container image",
	"accept-unmodelled": "an overlay of one's own can say the same",
	"boards":            "fleet.yaml names the directory",
}

// TestErrorsAdviseFlagsThatAreThere: a flag that an error of a build names is one of every
// command that builds, unless the error names the command, too.
func TestErrorsAdviseFlagsThatAreThere(t *testing.T) {
	named := advised(t, "image", "image/apt", "image/board", "image/boot", "image/component", "image/fetch", "image/oci", "image/overlay", "image/rootfs", "image/rootfs/gate", "image/rootfs/units")
	for _, name := range []string{"allow-older-index", "component", "cache", "strict", "lock"} {
		if !slices.Contains(named, name) {
			t.Errorf("--%s is not found in any error", name)
		}
	}
	for _, cmd := range []*cobra.Command{newBuild(), newFlash(), newReplace(), newResurrect(), newLab()} {
		for _, name := range named {
			if cmd.Flags().Lookup(name) == nil && (cmd.Name() == "build" || ofBuildAlone[name] == "") {
				t.Errorf("an error of %s names --%s, which it does not have", cmd.Name(), name)
			}
		}
	}
}

// advised lists the flags that the texts in packages name, without those beside the name of
// their command.
func advised(t *testing.T, packages ...string) (flags []string) {
	t.Helper()
	flag := regexp.MustCompile(`(?:^|[ (])--([a-z][a-z-]+)`)
	for _, dir := range packages {
		files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING && !strings.Contains(text.Value, "'imagebuilder build --") && !strings.Contains(text.Value, "systemctl --") {
					for _, m := range flag.FindAllStringSubmatch(text.Value, -1) {
						flags = append(flags, m[1])
					}
				}
				return true
			})
		}
	}
	slices.Sort(flags)
	return slices.Compact(flags)
}

// TestAComponentOfOnesOwnIsInNodesImages as in those of "build".
func TestAComponentOfOnesOwnIsInNodesImages(t *testing.T) {
	n := nodeImages{fleet: &fleet.Fleet{}, inputs: inputFlags{components: []string{"k3s=v9"}}}
	node := n.flags(nodeImage{"rpi4", "rpi4", false})
	for _, b := range []*buildFlags{node, {board: "rpi4", inputs: n.inputs}} {
		if err := b.load(); err != nil || b.opt.Components["k3s"] != "v9" {
			t.Errorf("%v, %v", b.opt.Components, err)
		}
	}
}

// TestLocksOfImages: of several images each uses the lock with its name, and if a lock was
// given, no image is built without one.
func TestLocksOfImages(t *testing.T) {
	dir := t.TempDir()
	written := func(name, board string) string {
		day := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		l := &lock.Lock{Version: 1, Board: board, Arch: "amd64", Timestamp: day, Suites: []lock.Suite{{Name: "trixie", Date: day, InReleaseSHA256: strings.Repeat("a", 64), Components: []string{"main"}}}}
		text, err := l.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	plain, control, other := written("pc.img.lock.json", "plain"), written("pc-headscale.img.lock.json", "control"), written("other", "other")
	broken := filepath.Join(dir, "absent", "pc.img.lock.json")
	n := nodeImages{fleet: &fleet.Fleet{}}
	for _, c := range []struct {
		locks []string
		both  bool
		want  string // the boards in the locks that builds have, or a part of the error
	}{
		{nil, true, " "},
		{[]string{control, plain}, true, "plain control"},
		{[]string{other}, false, "other"},
		{[]string{plain}, false, "plain"},
		{[]string{plain}, true, "none of those that are given is called pc-headscale.img.lock.json, for the image dist/pc-headscale.img"},
		{[]string{other}, true, "none of those that are given is called pc.img.lock.json, for the image dist/pc.img"},
		{[]string{plain, control}, false, control + " is of no image that is built"},
		{[]string{plain, control, plain}, true, plain + " is of no image that is built"},
		{[]string{broken}, false, broken},
	} {
		builds := []*buildFlags{n.flags(nodeImage{"pc", "pc", false})}
		builds[0].opt.Out = "dist/pc.img"
		if c.both {
			builds = append(builds, n.flags(nodeImage{"pc", "pc", true}))
		}
		in := inputFlags{locks: c.locks, locked: true, strict: true, registry: "https://mirror.example.net", mirrors: []string{"http://a"}, security: []string{"http://b"}, olderIndex: true, componentMirror: "http://c", cache: "d"}
		err := in.apply(builds...)
		var got []string
		for _, b := range builds {
			board := ""
			if b.opt.Lock != nil {
				board = b.opt.Lock.Board
			}
			got = append(got, board)
			if err == nil && (!b.opt.Locked || !b.opt.Strict || !b.opt.AllowOlderIndex || fmt.Sprintln(b.opt.RegistryMirror, b.opt.Mirrors, b.opt.SecurityMirrors, b.opt.ComponentMirror, b.cache) != "https://mirror.example.net [http://a] [http://b] http://c d\n") {
				t.Errorf("%q: %+v", c.locks, b.opt)
			}
		}
		if err == nil && strings.Join(got, " ") != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %q, %v; want %q", c.locks, got, err, c.want)
		}
	}
}
