package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/lock"
)

// TestWhoeverBuildsTakesLocks, and the other input flags of "build".
func TestWhoeverBuildsTakesLocks(t *testing.T) {
	of := newBuild().Flags()
	for _, cmd := range []*cobra.Command{newFlash(), newReplace(), newResurrect(), newLab()} {
		for _, name := range []string{"lock", "locked", "strict", "registry-mirror"} {
			if f := cmd.Flags().Lookup(name); f == nil || !strings.HasSuffix(f.Usage, of.Lookup(name).Usage) {
				t.Errorf("%s: --%s is %+v", cmd.Name(), name, f)
			}
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
		in := inputFlags{locks: c.locks, locked: true, strict: true, mirror: "https://mirror.example.net"}
		err := in.apply(builds...)
		var got []string
		for _, b := range builds {
			board := ""
			if b.opt.Lock != nil {
				board = b.opt.Lock.Board
			}
			got = append(got, board)
			if err == nil && (!b.opt.Locked || !b.opt.Strict || b.opt.RegistryMirror != in.mirror) {
				t.Errorf("%q: %+v", c.locks, b.opt)
			}
		}
		if err == nil && strings.Join(got, " ") != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %q, %v; want %q", c.locks, got, err, c.want)
		}
	}
}
