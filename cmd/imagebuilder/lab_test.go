package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/lab"
)

// TestOccupy: a lab has its directory for itself, and nothing is left of it.
func TestOccupy(t *testing.T) {
	top := t.TempDir()
	f := labFlags{dir: filepath.Join(top, "lab")}
	release, err := f.occupy()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(f.dir, "machines"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.occupy(); err == nil || !strings.Contains(err.Error(), "a lab runs in") {
		t.Errorf("a second one: %v", err)
	}
	release()
	if left, err := os.ReadDir(top); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if release, err = f.occupy(); err != nil {
		t.Fatal(err)
	}
	release()
}

// TestImagesOfAStandIn: the image carries the fleet's additions for the board that it stands
// in for, in a file of its own.
func TestImagesOfAStandIn(t *testing.T) {
	n := nodeImages{fleet: &fleet.Fleet{Images: map[string][]string{"rpi4": {"a/b:1"}, "rpi5": {"c/d:1"}}}}
	for _, c := range []struct {
		board, stands string
		controls      bool
		out, images   string
	}{
		{"rpi4", "rpi4", false, "", "a/b:1"},
		{"generic-amd64", "rpi4", false, "dist/generic-amd64-for-rpi4.img", "a/b:1"},
		{"generic-amd64", "rpi5", false, "dist/generic-amd64-for-rpi5.img", "c/d:1"},
		{"generic-amd64", "optiplex-7050", false, "", ""},
		{"generic-amd64", "rpi4", true, "dist/generic-amd64-headscale.img", ""},
	} {
		b := n.flags(nodeImage{c.board, c.stands, c.controls})
		if b.board != c.board || b.opt.Out != c.out || strings.Join(b.opt.Images, " ") != c.images {
			t.Errorf("%+v: %q with %q", c, b.opt.Out, b.opt.Images)
		}
	}
	mine := nodeImages{fleet: &fleet.Fleet{Boards: "mine", Overlays: "ours"}}
	if b := mine.flags(nodeImage{"nuc8", "nuc8", false}); b.boards != "mine" || b.overlayDir != "ours" {
		t.Errorf("boards of one's own are looked for in %q, their overlays in %q", b.boards, b.overlayDir)
	}
	own := &nodeImages{fleet: &fleet.Fleet{Images: map[string][]string{"generic-amd64": {"a/b:1"}, "rpi4": {"a/b:1"}}}}
	for stands, want := range map[string]string{"generic-amd64": "", "optiplex-7050": "dist/generic-amd64-for-optiplex-7050.img", "rpi4": ""} {
		if b := own.flags(nodeImage{"generic-amd64", stands, false}); b.opt.Out != want {
			t.Errorf("in place of %s, beside one that carries images itself: %q", stands, b.opt.Out)
		}
	}
	charts, err := fleet.Load("fleet.yaml", []byte(strings.Replace(string(fleet.Example), "\nsites:", "\n  longhorn: {}\nsites:", 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	for stands, want := range map[string]string{"rpi4": "dist/generic-amd64-for-rpi4.img", "optiplex-7050": ""} { // servers are Pis
		b := (&nodeImages{fleet: charts}).flags(nodeImage{"generic-amd64", stands, false})
		if b.opt.Out != want || (len(b.components) > 0) != (want != "") {
			t.Errorf("in place of %s: %q with %q", stands, b.opt.Out, b.components)
		}
	}
}

// TestOccupyAfterKill: whenever a lab was killed, its remains do not prevent the next one. A
// directory that is not a lab's stays.
func TestOccupyAfterKill(t *testing.T) {
	f := labFlags{dir: filepath.Join(t.TempDir(), "lab")}
	for name, left := range map[string]string{
		"while it built images":      filepath.Join(f.dir, "fleet.yaml"),
		"while it cleaned up":        filepath.Join(f.dir, "machines", "node", "disk.img"),
		"with its lock still there":  f.dir + ".lock",
		"and all that it left again": filepath.Join(f.dir, "machines", "disk.img"),
	} {
		if err := lab.Claim(f.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(left, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		release, err := f.occupy()
		if err != nil {
			t.Fatalf("killed %s: %v", name, err)
		}
		if _, err := os.Stat(left); err == nil && left != f.dir+".lock" || !lab.Claimed(f.dir) {
			t.Errorf("killed %s: there is still %s", name, left)
		}
		release()
	}
}

// TestNoLabsDirectory is left alone, whatever it is called.
func TestNoLabsDirectory(t *testing.T) {
	f := labFlags{dir: filepath.Join(t.TempDir(), "lab")}
	for _, dir := range []string{f.dir, f.dir + ".lab-gone"} {
		mine := filepath.Join(dir, "mine")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(mine, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		release, err := f.occupy()
		if ours := dir != f.dir; (err == nil) != ours || err != nil && !strings.Contains(err.Error(), "--dir: "+dir+" is there and is no lab's") {
			t.Errorf("%s: %v", dir, err)
		}
		if err == nil {
			release()
		}
		if _, err := os.Stat(mine); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(f.dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(f.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.occupy(); err == nil || !strings.Contains(err.Error(), "is no lab's") {
		t.Error(err)
	}
}

// TestConclude: table and drills are always shown, the lab is kept if asked for, and the
// error comes last.
func TestConclude(t *testing.T) {
	broken, differs := errors.New("cabin-pi needs a person; its last words:\nall is\x1b[2J well\u009b2J"), &lab.Drill{What: "a drill", Seen: "something"}
	for name, c := range map[string]struct {
		keep   bool
		drills []*lab.Drill
		err    error
		says   string // before Ctrl-C, where it is kept
		code   bool   // has one of its own
	}{
		"kept, all well":             {keep: true, says: "stays until Ctrl-C"},
		"kept, and not as promised":  {keep: true, drills: []*lab.Drill{differs}, says: "not what the plan promised", code: true},
		"kept, and something broke":  {keep: true, drills: []*lab.Drill{{What: "a drill"}}, err: broken, says: "needs a person", code: true},
		"not as promised":            {drills: []*lab.Drill{differs}},
		"something broke":            {drills: []*lab.Drill{{What: "a drill"}}, err: broken},
		"all well, and as was hoped": {drills: []*lab.Drill{{What: "a drill", Kept: true, Well: true}}},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		out, told := &bytes.Buffer{}, &said{text: c.says, then: interrupt}
		cmd := &cobra.Command{}
		cmd.SetContext(ctx)
		cmd.SetOut(out)
		cmd.SetErr(told)
		f := labFlags{keep: c.keep}
		err := f.conclude(cmd, &labResult{Nodes: []lab.Row{{Node: "cabin-pi"}}, Drills: c.drills}, c.err)
		wrong := c.err != nil || len(c.drills) > 0 && !c.drills[0].Kept
		var exit *exitError
		if (err != nil) != wrong || errors.As(err, &exit) != c.code || (ctx.Err() != nil) != c.keep {
			t.Errorf("%s: %v, interrupted: %v", name, err, ctx.Err())
		}
		if text := out.String(); !strings.Contains(text, "cabin-pi") || strings.Contains(text, "a drill") != (len(c.drills) > 0) || len(c.drills) > 0 && strings.Contains(text, "mended    no") == c.drills[0].Well {
			t.Errorf("%s:\n%s", name, text)
		}
		if at := strings.IndexFunc(told.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); at >= 0 {
			t.Errorf("%s: %q speaks to the terminal", name, told.String()[at:])
		}
		interrupt()
	}
}

// said is a person who stops reading once the output says that the lab stays.
type said struct {
	bytes.Buffer
	text string
	then func()
}

func (s *said) Write(b []byte) (int, error) {
	n, err := s.Buffer.Write(b)
	if strings.Contains(s.String(), s.text) && strings.Contains(s.String(), "stays until Ctrl-C") {
		s.then()
	}
	return n, err
}

// TestOccupyAlone: release removes only its own lock.
func TestOccupyAlone(t *testing.T) {
	f := labFlags{dir: filepath.Join(t.TempDir(), "lab")}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := 0; n < 20; {
				release, err := f.occupy()
				if err != nil && strings.Contains(err.Error(), "a lab runs in") {
					time.Sleep(10 * time.Microsecond)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				runtime.Gosched()
				if _, err := os.Stat(f.dir + ".lock"); err != nil {
					t.Errorf("whoever comes next believes the directory free: %v", err)
				}
				release()
				n++
			}
		})
	}
	all.Wait()
}
