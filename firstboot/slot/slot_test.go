package slot

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// partition is a boot partition in a directory.
type partition struct {
	t   *testing.T
	dir string
}

func newPartition(t *testing.T, files map[string]string) partition {
	t.Helper()
	p := partition{t, t.TempDir()}
	for name, text := range files {
		full := filepath.Join(p.dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p partition) open(slot string) *Store {
	p.t.Helper()
	s, err := Open(p.dir, "quiet "+contract.Args{Slot: slot, SlotSize: 1 << 30}.Encode()+" panic=10\n")
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// want compares the state seen by the running slot.
func (p partition) want(running, want string) {
	p.t.Helper()
	st, err := p.open(running).Current()
	got := fmt.Sprintf("running %s good %s trial %s+%d ontrial %v", st.Current, st.Good, st.Trial, st.Tries, st.OnTrial())
	if err != nil || got != want {
		p.t.Errorf("state is %q (%v), want %q", got, err, want)
	}
}

// efiFiles are what systemd-boot finds, by their paths.
func (p partition) efiFiles() []string {
	p.t.Helper()
	var names []string
	for _, pattern := range []string{EFIDir + "/*.efi", EntryDir + "/*.conf"} {
		found, err := filepath.Glob(filepath.Join(p.dir, filepath.FromSlash(pattern)))
		if err != nil {
			p.t.Fatal(err)
		}
		for _, name := range found {
			name, _ = filepath.Rel(p.dir, name)
			names = append(names, filepath.ToSlash(name))
		}
	}
	sort.Strings(names)
	return names
}

// systemdBoot does what systemd-boot 257 does with our names: a file with no tries left sorts last,
// otherwise the highest generation comes first; then it counts. That order was verified under OVMF,
// see image/e2e.
func (p partition) systemdBoot() (slot string) {
	p.t.Helper()
	var best EFIName
	var file string
	for _, name := range p.efiFiles() {
		n, ok := ParseEFIName(path.Base(name))
		spent, bestSpent := n.Counted && n.Left == 0, best.Counted && best.Left == 0
		if ok && (file == "" || bestSpent && !spent || bestSpent == spent && n.Generation > best.Generation) {
			best, file = n, name
		}
	}
	if best.Counted && best.Left > 0 {
		best.Left, best.Done = best.Left-1, best.Done+1
		if err := os.Rename(filepath.Join(p.dir, file), filepath.Join(p.dir, best.Path())); err != nil {
			p.t.Fatal(err)
		}
	}
	return best.Slot
}

func (p partition) boots(want string) {
	p.t.Helper()
	if got := p.systemdBoot(); got != want {
		p.t.Errorf("boots slot %s, want %s; files %q", got, want, p.efiFiles())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func TestEFIStory(t *testing.T) {
	for kind, entry := range map[string]bool{"kernel images": false, "entries": true} {
		t.Run(kind, func(t *testing.T) {
			name := func(n EFIName) string { n.Entry = entry; return n.Path() }
			other := strings.Replace(name(EFIName{}), "imagebuilder-0-", "other", 1)
			p := newPartition(t, map[string]string{name(EFIName{Generation: 1, Slot: "a"}): "a", other: "x"})
			p.boots("a")
			p.want("a", "running a good a trial +0 ontrial false")
			if err := p.open("a").StartTrial("b", 3); err == nil || !strings.Contains(err.Error(), "nothing was installed") {
				t.Errorf("trial of an empty slot: %v", err)
			}
			p.write(name(EFIName{Slot: "b"}), "b")

			must(t, p.open("a").StartTrial("b", 2))
			p.want("a", "running a good a trial b+2 ontrial false")
			must(t, p.open("a").MarkGood()) // must not end the trial that is to come
			p.boots("b")
			p.want("b", "running b good a trial b+1 ontrial true")
			if err := p.open("b").StartTrial("a", 3); err == nil {
				t.Error("a trial within a trial")
			}
			p.boots("b")
			p.boots("a") // never marked good: back by itself
			p.want("a", "running a good a trial b+0 ontrial false")
			p.boots("a")

			must(t, p.open("a").StartTrial("b", 3))
			p.boots("b")
			must(t, p.open("b").MarkGood())
			must(t, p.open("b").MarkGood())
			p.want("b", "running b good b trial +0 ontrial false")
			p.boots("b")

			must(t, p.open("b").StartTrial("a", 1)) // an older image can be tried too
			p.boots("a")
			p.boots("b")
			want := []string{name(EFIName{Generation: 3, Slot: "b"}), name(EFIName{Generation: 4, Slot: "a", Counted: true, Done: 1}), other}
			if got := p.efiFiles(); !slices.Equal(got, want) {
				t.Errorf("files %q, want %q", got, want)
			}
		})
	}
}

// grub does what image/boot/grub.cfg does with our names and its own count; that the two agree was
// verified under SeaBIOS, see image/e2e.
func (p partition) grub() (slot string) {
	p.t.Helper()
	var best EFIName
	var count int
	env, err := os.ReadFile(filepath.Join(p.dir, CountFile))
	for _, name := range p.efiFiles() {
		n, ok := ParseEFIName(path.Base(name))
		used := 0
		if head := fmt.Sprintf("# GRUB Environment Block\ntried=%d-%s\ntries=", n.Generation, n.Slot); strings.HasPrefix(string(env), head) {
			used = int(env[len(head)] - '0')
		}
		if ok && n.Entry && (best.Slot == "" || n.Generation > best.Generation) && (!n.Counted || used < n.Left) {
			best, count = n, used
		}
	}
	if best.Counted && err != nil {
		return Other(best.Slot) // what cannot be counted is not tried
	}
	if best.Counted {
		p.write(CountFile, fmt.Sprintf("%-1024s", fmt.Sprintf("# GRUB Environment Block\ntried=%d-%s\ntries=%d\n", best.Generation, best.Slot, count+1)))
	}
	return best.Slot
}

// TestBIOSStory: GRUB counts beside the names.
func TestBIOSStory(t *testing.T) {
	p := newPartition(t, map[string]string{"loader/entries/imagebuilder-1-a.conf": "a", "loader/entries/imagebuilder-0-b.conf": "b", GRUBScript: "x"}) // GRUB cannot make its file
	boots := func(want string) {
		t.Helper()
		if got := p.grub(); got != want {
			t.Errorf("GRUB boots slot %s, want %s; files %q", got, want, p.efiFiles())
		}
	}
	boots("a")
	for range 2 { // the second trial has the generation of the first
		must(t, p.open("a").StartTrial("b", 2))
		p.want("a", "running a good a trial b+2 ontrial false")
		boots("b")
		p.want("b", "running b good a trial b+1 ontrial true")
		boots("b")
		boots("a")
		p.want("a", "running a good a trial b+0 ontrial false")
		boots("a")
		must(t, os.Remove(filepath.Join(p.dir, "loader/entries/imagebuilder-2-b+2.conf")))
		must(t, os.Remove(filepath.Join(p.dir, CountFile))) // as fsck may
		p.write("loader/entries/imagebuilder-0-b.conf", "b")
	}
	must(t, p.open("a").StartTrial("b", 3))
	boots("b")
	p.boots("b") // the disk was put into a machine with UEFI: both counts count
	p.want("b", "running b good a trial b+1 ontrial true")
	must(t, p.open("b").MarkGood())
	p.want("b", "running b good b trial +0 ontrial false")
	boots("b")
	must(t, p.open("b").StartTrial("a", 2))
	boots("a")
	must(t, p.open("b").MarkGood()) // b was started by hand: one try is left
	boots("a")
	boots("b")
	for range 2 {
		must(t, p.open("b").MarkGood())
		p.boots("b") // with UEFI, where nobody reads what GRUB counted
		p.want("b", "running b good b trial a+0 ontrial false")
	}
	if env, err := os.ReadFile(filepath.Join(p.dir, CountFile)); err != nil || len(env) != 1024 {
		t.Errorf("GRUB's file has %d bytes (%v): it is overwritten in place", len(env), err)
	}
}

// TestADiskElsewhereIsStarted: GRUB is told in the file that it reads, which keeps its size.
// Without GRUB no such file is made.
func TestADiskElsewhereIsStarted(t *testing.T) {
	p := newPartition(t, map[string]string{GRUBScript: "x", CountFile: string(CountEnv("", 0))})
	must(t, StartElsewhere(p.dir, "aaaaaaaa-0000-4000-8000-000000000001"))
	env, err := os.ReadFile(filepath.Join(p.dir, CountFile))
	if want := "# GRUB Environment Block\nelsewhere=aaaaaaaa-0000-4000-8000-000000000001\n##"; err != nil || len(env) != 1024 || !strings.HasPrefix(string(env), want) {
		t.Errorf("%v: %d bytes, %.90q", err, len(env), env)
	}
	p = newPartition(t, map[string]string{"loader/entries/imagebuilder-1-a.conf": "a"})
	must(t, StartElsewhere(p.dir, "id"))
	if _, err := os.Stat(filepath.Join(p.dir, "grub")); err == nil {
		t.Error("something was made for GRUB")
	}
}

func TestCountGarbage(t *testing.T) {
	p := newPartition(t, map[string]string{"loader/entries/imagebuilder-1-a.conf": "a", "loader/entries/imagebuilder-2-b+2.conf": "b"})
	p.want("a", "running a good a trial b+2 ontrial false") // where there is no BIOS, there is no file
	for text, left := range map[string]int{
		"": 2, "tried=2-b\ntries=1\n": 2, "# GRUB Environment Block\ntried=2-b\n": 2, "# GRUB Environment Block\ntried=2-b\ntries=x\n": 2,
		string(CountEnv("1-b", 1)): 2, string(CountEnv("2-b", 1)): 1, string(CountEnv("2-b", 9)): 0, string(CountEnv("2-b", -7)): 2,
	} {
		must(t, os.MkdirAll(filepath.Join(p.dir, "grub"), 0o755))
		p.write(CountFile, text)
		p.want("a", fmt.Sprintf("running a good a trial b+%d ontrial false", left))
	}
}

// TestAnUpdateBringsTheOtherKind: one slot starts by a unified kernel image,
// the other by an entry.
func TestAnUpdateBringsTheOtherKind(t *testing.T) {
	p := newPartition(t, map[string]string{
		"EFI/Linux/imagebuilder-1-a.efi": "a", "loader/entries/imagebuilder-0-b.conf": "b",
		"EFI/Linux/imagebuilder-9-b.conf": "systemd-boot looks for none here", "loader/entries/imagebuilder-9-a.efi": "nor here",
	})
	p.want("a", "running a good a trial +0 ontrial false")
	must(t, p.open("a").StartTrial("b", 2))
	p.boots("b")
	p.boots("b")
	p.boots("a")
	must(t, p.open("a").StartTrial("b", 2))
	p.boots("b")
	must(t, p.open("b").MarkGood())
	p.boots("b")
	p.want("b", "running b good b trial +0 ontrial false")
	if got := fmt.Sprint(p.efiFiles()); got != "[EFI/Linux/imagebuilder-1-a.efi loader/entries/imagebuilder-3-b.conf]" {
		t.Error(got)
	}
}

func TestUBootStory(t *testing.T) {
	p := newPartition(t, map[string]string{ScriptFile: "", "a/vmlinuz": "a", GoodFile: string(GoodEnv("a")), TrialFile: string(TrialEnv("", 0))})
	p.want("a", "running a good a trial +0 ontrial false")
	if err := p.open("a").StartTrial("b", 3); err == nil || !strings.Contains(err.Error(), "nothing was installed") {
		t.Errorf("trial of an empty slot: %v", err)
	}
	must(t, os.Mkdir(filepath.Join(p.dir, "b"), 0o755))
	must(t, os.WriteFile(filepath.Join(p.dir, "b/vmlinuz"), []byte("b"), 0o644))
	must(t, p.open("a").StartTrial("b", 3))
	must(t, p.open("a").WithdrawTrial())
	p.want("a", "running a good a trial +0 ontrial false")
	must(t, p.open("a").StartTrial("b", 2))
	must(t, p.open("a").MarkGood())
	p.want("a", "running a good a trial b+2 ontrial false")
	p.write(TrialFile, "try=b\ntries=1\n"+strings.Repeat("\x00", 498)) // as U-Boot exports it
	must(t, p.open("b").WithdrawTrial())                               // it has begun
	p.want("b", "running b good a trial b+1 ontrial true")
	must(t, p.open("b").MarkGood())
	p.want("b", "running b good b trial +0 ontrial false")
	must(t, p.open("b").MarkGood())
	for _, name := range []string{GoodFile, TrialFile} {
		if info, err := os.Stat(filepath.Join(p.dir, name)); err != nil || info.Size() != EnvSize {
			t.Errorf("%s: %v %v: U-Boot overwrites it in place and needs one size", name, info, err)
		}
	}
}

// TestLeaves: only a trial of the other slot that has a try left is the next start.
func TestLeaves(t *testing.T) {
	for want, states := range map[bool][]State{
		true:  {{"a", "a", "b", 2, ""}, {"b", "b", "a", 1, ""}},
		false: {{"a", "a", "", 0, ""}, {"a", "a", "b", 0, ""}, {"b", "a", "b", 2, ""}, {"b", "b", "b", 0, ""}},
	} {
		for _, st := range states {
			if st.Leaves() != want {
				t.Errorf("%+v: %v", st, st.Leaves())
			}
		}
	}
}

func (p partition) write(name, text string) {
	p.t.Helper()
	must(p.t, os.WriteFile(filepath.Join(p.dir, filepath.FromSlash(name)), []byte(text), 0o644))
}

// What cannot be read means: no trial, slot a, as in the script.
func TestUBootGarbage(t *testing.T) {
	for name, env := range map[string]struct{ good, trial, want string }{
		"missing":     {"", "", "running a good a trial +0 ontrial false"},
		"binary":      {"\xff\xfe\x00good=b\n", "\x00try=b\ntries=2\n", "running a good a trial +0 ontrial false"},
		"nonsense":    {"good=c\n", "try=c\ntries=2\n", "running a good a trial +0 ontrial false"},
		"CRLF":        {"good=b\r\n", "try=a\r\ntries=2\r\n", "running a good b trial a+2 ontrial true"},
		"no number":   {"good=b\n", "try=a\ntries=x\n", "running a good b trial a+0 ontrial true"},
		"huge number": {"good=b\n", "try=a\ntries=ffff\n", "running a good b trial a+0 ontrial true"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, map[string]string{ScriptFile: ""})
			if name != "missing" {
				p.write(GoodFile, env.good)
				p.write(TrialFile, env.trial)
			}
			p.t = t
			p.want("a", env.want)
			must(t, p.open("a").MarkGood())
			p.want("a", "running a good a trial +0 ontrial false")
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir, contract.Args{Slot: "a", SlotSize: 1 << 30}.Encode()); err == nil || !strings.Contains(err.Error(), "is it mounted?") {
		t.Errorf("empty directory: %v", err)
	}
	for _, line := range []string{"", "imagebuilder.slot=", "imagebuilder.slot=ab"} {
		if _, err := Open(dir, line); err == nil {
			t.Errorf("%q accepted", line)
		}
	}
	p := newPartition(t, map[string]string{"EFI/Linux/imagebuilder-1-a.efi": "a", "EFI/Linux/imagebuilder-2-b+0-3.efi": "b"})
	for _, tries := range []int{0, -1, 10} {
		if err := p.open("a").StartTrial("b", tries); err == nil {
			t.Errorf("%d tries accepted", tries)
		}
	}
	if err := p.open("a").StartTrial("a", 3); err == nil {
		t.Error("a trial of the running slot")
	}
}

func TestEFIName(t *testing.T) {
	for _, name := range []string{"imagebuilder-1-a.efi", "imagebuilder-12-b+3.efi", "imagebuilder-2-b+0-3.efi", "imagebuilder-1-a.conf", "imagebuilder-2-b+2-1.conf"} {
		n, ok := ParseEFIName(name)
		if !ok || n.String() != name {
			t.Errorf("%s: %+v %v", name, n, ok)
		}
	}
	if n, ok := ParseEFIName("IMAGEBUILDER-3-B+2-1.EFI"); !ok || n.String() != "imagebuilder-3-b+2-1.efi" {
		t.Errorf("upper case: %+v %v", n, ok)
	}
	for _, name := range []string{"", "linux.efi", "imagebuilder-a.efi", "imagebuilder-1-c.efi", "imagebuilder-1-a+.efi", "imagebuilder-1-a+1-.efi", "ximagebuilder-1-a.efi", "imagebuilder-1-a.conf.efi", "imagebuilder-1-a.txt"} {
		if n, ok := ParseEFIName(name); ok {
			t.Errorf("%q: %+v", name, n)
		}
	}
}

func FuzzParseEnv(f *testing.F) {
	f.Add(GoodEnv("b"))
	f.Add(TrialEnv("a", 3))
	f.Add([]byte("try=b\ntries=1\n\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for key, value := range parseEnv(b) {
			if strings.ContainsAny(key+value, "\x00\n") || strings.HasPrefix(key, "#") {
				t.Errorf("%q=%q", key, value)
			}
		}
	})
}

func FuzzParseEFIName(f *testing.F) {
	f.Add("imagebuilder-2-b+2-1.efi")
	f.Add("imagebuilder-2-B+2-1.CONF")
	f.Fuzz(func(t *testing.T, name string) {
		n, ok := ParseEFIName(name)
		if !ok {
			return
		}
		if again, ok := ParseEFIName(n.String()); !ok || again != n {
			t.Errorf("%q: %+v, then %+v", name, n, again)
		}
	})
}
