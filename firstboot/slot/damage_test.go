package slot

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// starts checks which file starts the running slot.
func (p partition) starts(running, want string) {
	p.t.Helper()
	if st, err := p.open(running).Current(); err != nil || st.File != want {
		p.t.Errorf("slot %s starts by %q (%v), want %q", running, st.File, err, want)
	}
}

// TestPowerGoesWhileAFileIsRenamed: FAT may then have an empty file with the new name, or both
// names with one content, of which fsck.fat empties one.
func TestPowerGoesWhileAFileIsRenamed(t *testing.T) {
	const a, old, trial, tried, good = "EFI/Linux/imagebuilder-1-a.efi", "EFI/Linux/imagebuilder-0-b.efi", "EFI/Linux/imagebuilder-2-b+3.efi", "EFI/Linux/imagebuilder-2-b+2-1.efi", "EFI/Linux/imagebuilder-2-b.efi"
	for name, c := range map[string]struct {
		files        map[string]string
		running      string
		state, start string
	}{
		"a trial was to begin": {map[string]string{a: "a", old: "b", trial: ""}, "a", "running a good a trial +0 ontrial false", a},
		"a trial began":        {map[string]string{a: "a", old: "", trial: "b"}, "a", "running a good a trial b+3 ontrial false", a},
		"a trial, both":        {map[string]string{a: "a", old: "b", trial: "b"}, "a", "running a good a trial b+3 ontrial false", a},
		"a try, empty":         {map[string]string{a: "a", trial: "b", tried: ""}, "b", "running b good a trial b+3 ontrial true", trial},
		"a try, both":          {map[string]string{a: "a", trial: "b", tried: "b"}, "b", "running b good a trial b+2 ontrial true", tried},
		"was to be good":       {map[string]string{a: "a", tried: "b", good: ""}, "b", "running b good a trial b+2 ontrial true", tried},
		"is good":              {map[string]string{a: "a", tried: "", good: "b"}, "b", "running b good b trial +0 ontrial false", good},
		"is good, both":        {map[string]string{a: "a", tried: "b", good: "b"}, "b", "running b good b trial +0 ontrial false", good},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, c.files)
			p.want(c.running, c.state)
			p.starts(c.running, c.start)
			must(t, p.open(c.running).MarkGood())
			for _, file := range []string{tried, good} { // a file that may share its content was not overwritten
				if text, err := os.ReadFile(filepath.Join(p.dir, file)); c.files[tried] == c.files[good] && c.files[good] != "" && (err != nil || string(text) != "b") {
					t.Errorf("%s is %q, %v", file, text, err)
				}
			}
			if c.running == "b" {
				p.want("b", "running b good b trial +0 ontrial false")
				p.starts("b", good)
				return
			}
			must(t, os.WriteFile(filepath.Join(p.dir, "EFI/Linux/imagebuilder-0-b.efi"), []byte("b"), 0o644)) // the update, again
			must(t, p.open("a").StartTrial("b", 3))
			if st, err := p.open("a").Current(); err != nil || !st.Leaves() || st.Tries != 3 {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
}

// TestTheLoaderCannotRename: systemd-boot starts the trial all the same, and does not count its
// tries. Counting for it ends the trial.
func TestTheLoaderCannotRename(t *testing.T) {
	for kind, entry := range map[string]bool{"kernel images": false, "entries": true} {
		t.Run(kind, func(t *testing.T) {
			name := func(n EFIName) string { n.Entry = entry; return n.Path() }
			p := newPartition(t, map[string]string{name(EFIName{Generation: 1, Slot: "a"}): "a", name(EFIName{Slot: "b"}): "b"})
			must(t, Count(p.dir, "a")) // no trial
			must(t, p.open("a").StartTrial("b", 3))
			for left := 2; left >= 0; left-- {
				must(t, Count(p.dir, "b"))
				p.want("b", fmt.Sprintf("running b good a trial b+%d ontrial true", left))
			}
			p.boots("a")
			must(t, Count(p.dir, "b")) // somebody chose it in the menu
			p.boots("a")
			p.want("a", "running a good a trial b+0 ontrial false")
			p.starts("a", name(EFIName{Generation: 1, Slot: "a"}))
			must(t, os.RemoveAll(filepath.Join(p.dir, "EFI")))
			must(t, os.RemoveAll(filepath.Join(p.dir, "loader")))
			must(t, Count(p.dir, "b"))
		})
	}
}

// TestTheGoodSlotDoesNotStart: GRUB then starts the other slot, or a person chooses that in the
// menu. Once it is marked good it is the good slot, and can be updated and rolled back, also if
// power failed during the renaming.
func TestTheGoodSlotDoesNotStart(t *testing.T) {
	for kind, entry := range map[string]bool{"kernel images": false, "entries": true} {
		for at, generation := range map[string]int{"one before": 2, "withdrawn": 0, "alike": 3} {
			t.Run(kind+", "+at, func(t *testing.T) {
				name := func(n EFIName) string { n.Entry = entry; return n.Path() }
				a, old, next := name(EFIName{Generation: 3, Slot: "a"}), name(EFIName{Generation: generation, Slot: "b"}), name(EFIName{Generation: 4, Slot: "b"})
				for cut, files := range map[string]map[string]string{
					"":                  {a: "a", old: "b"},
					"the name is empty": {a: "a", old: "b", next: ""},
					"two names":         {a: "a", old: "b", next: "b"},
					"the old is empty":  {a: "a", old: "", next: "b"},
				} {
					if files[GRUBScript] = "x"; !entry {
						delete(files, GRUBScript)
					}
					p := newPartition(t, files)
					if cut == "" {
						p.want("b", "running b good a trial +0 ontrial false")
					}
					must(t, p.open("b").MarkGood())
					must(t, p.open("b").MarkGood())
					p.want("b", "running b good b trial +0 ontrial false")
					p.starts("b", next)
					p.boots("b")
					if entry {
						if got := p.grub(); got != "b" {
							t.Errorf("%s: GRUB boots slot %s", cut, got)
						}
					}
					must(t, p.open("b").StartTrial("a", 1)) // an update of it, or a way back
					p.boots("a")
					p.boots("b")
				}
			})
		}
	}
}

// TestWithdrawn: a trial that was taken back is not started, whatever a power cut has left of it. No
// file is lost, and the trial can begin another time.
func TestWithdrawn(t *testing.T) {
	for kind, entry := range map[string]bool{"kernel images": false, "entries": true} {
		name := func(n EFIName) string { n.Entry = entry; return n.Path() }
		a, waits := name(EFIName{Generation: 1, Slot: "a"}), name(EFIName{Generation: 2, Slot: "b", Counted: true, Left: 3})
		old, tried := name(EFIName{Slot: "b"}), name(EFIName{Generation: 2, Slot: "b", Counted: true, Left: 2, Done: 1})
		for cut, files := range map[string]map[string]string{
			"":                        {a: "a", waits: "b"},
			"its first name is there": {a: "a", waits: "b", old: "b"},
			"that is empty":           {a: "a", waits: "b", old: ""},
			"a try, both names":       {a: "a", waits: "b", tried: "b"},
		} {
			t.Run(kind+" "+cut, func(t *testing.T) {
				p := newPartition(t, files)
				must(t, p.open("a").WithdrawTrial())
				must(t, p.open("a").WithdrawTrial())
				p.want("a", "running a good a trial +0 ontrial false")
				p.boots("a")
				if got := len(p.efiFiles()); cut == "a try, both names" && got != 3 {
					t.Errorf("one of two names was written over: %q", p.efiFiles())
				}
				must(t, p.open("a").StartTrial("b", 3))
				p.boots("b")
			})
		}
	}
}
