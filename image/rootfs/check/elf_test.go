package check

import (
	"context"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

func hostFile(t testing.TB, name string) *tree.Node {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return &tree.Node{Path: strings.TrimPrefix(name, "/"), Mode: 0o755, Content: tree.Bytes(b)}
}

var (
	readelfNeeded = regexp.MustCompile(`\(NEEDED\).*\[(.*)\]`)
	readelfRun    = regexp.MustCompile(`\((?:RUNPATH|RPATH)\).*\[(.*)\]`)
	readelfInterp = regexp.MustCompile(`interpreter: (.*)\]`)
)

// TestFactsAgainstReadelf compares what is read from the host's programs with
// what binutils reads.
func TestFactsAgainstReadelf(t *testing.T) {
	if _, err := exec.LookPath("readelf"); err != nil {
		t.Fatal("readelf is missing: run make deps")
	}
	names, err := filepath.Glob("/usr/bin/[a-g]*")
	if err != nil {
		t.Fatal(err)
	}
	libs, _ := filepath.Glob("/usr/lib/*-linux-gnu/lib[a-c]*.so.*")
	self, err := os.Executable() // a static program
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, name := range append(append(names[:min(40, len(names))], libs[:min(40, len(libs))]...), self) {
		head, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(head), elf.ELFMAG) {
			continue
		}
		out, err := exec.Command("readelf", "-W", "-d", "-l", name).Output()
		if err != nil {
			t.Fatalf("readelf %s: %v", name, err)
		}
		got, err := readFact(hostFile(t, name))
		if err != nil {
			t.Fatal(err)
		}
		var want fact
		want.Machine = got.Machine
		for _, m := range readelfNeeded.FindAllStringSubmatch(string(out), -1) {
			want.Needed = append(want.Needed, m[1])
		}
		for _, m := range readelfRun.FindAllStringSubmatch(string(out), -1) {
			want.RunPath = append(want.RunPath, strings.Split(m[1], ":")...)
		}
		if m := readelfInterp.FindStringSubmatch(string(out)); m != nil {
			want.Interp = m[1]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		compared++
	}
	if compared < 10 {
		t.Fatalf("compared only %d files", compared)
	}
}

// TestLibraries takes a real program and its libraries apart.
func TestLibraries(t *testing.T) {
	ls := hostFile(t, "/usr/bin/ls")
	f, err := readFact(ls)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Needed) == 0 || f.Interp == "" {
		t.Fatalf("ls is not dynamic: %+v", f)
	}
	tr := sound(t)
	add(t, tr, ls)
	var want []string
	want = append(want, "usr/bin/ls: needs "+f.Interp+", which is missing")
	for _, lib := range f.Needed {
		want = append(want, "usr/bin/ls: needs the library "+lib+", which is missing")
	}
	if diff := cmp.Diff(want, findings(t, tr)); diff != "" {
		t.Error(diff)
	}
	for i, lib := range f.Needed {
		file(t, tr, []string{"usr/lib/x86_64-linux-gnu/", "usr/lib/"}[i%2]+lib, 0o644, "library")
	}
	file(t, tr, f.Interp[1:], 0o755, "loader")
	if got := findings(t, tr); got != nil {
		t.Error(strings.Join(got, "\n"))
	}
}

// TestWhereTheLoaderDoesNotLook: without an ld.so.cache, the loader searches neither the
// directories in ld.so.conf nor the program's own. For a library, the directory of the
// library that needs it counts: its neighbour may have been loaded before.
func TestWhereTheLoaderDoesNotLook(t *testing.T) {
	for _, dir := range []string{"usr/local/lib", "usr/lib64", "usr/local/bin"} {
		tr := sound(t)
		file(t, tr, "etc/ld.so.conf.d/x.conf", 0o644, "/usr/local/lib\n")
		file(t, tr, "usr/lib/ld.so", 0o755, "loader")
		file(t, tr, dir+"/libmeter.so.1", 0o644, "library")
		c := newChecker(tr)
		n := &tree.Node{Path: "usr/local/bin/meter", Source: "test"}
		c.program(n, fact{Machine: "M", Interp: "/usr/lib/ld.so", Needed: []string{"libmeter.so.1"}}, "M")
		if len(c.found) != 1 || !strings.HasPrefix(c.found[0].Msg, "needs the library libmeter.so.1, which is in /"+dir+" alone, where the loader does not look") {
			t.Errorf("%s: %v", dir, c.found)
		}
	}
	tr := sound(t)
	file(t, tr, "usr/lib/app/libmeter.so.1", 0o644, "library")
	c := newChecker(tr)
	c.program(&tree.Node{Path: "usr/lib/app/plugin.so", Source: "test"}, fact{Machine: "M", Needed: []string{"libmeter.so.1"}}, "M")
	if len(c.found) > 0 {
		t.Error(c.found)
	}
}

func TestRunPath(t *testing.T) {
	c := newChecker(sound(t))
	file(t, c.tree, "usr/lib/app/private/liba.so.1", 0o644, "x")
	n := &tree.Node{Path: "usr/lib/app/main", Source: "test"}
	for _, runpath := range []string{"$ORIGIN/private", "${ORIGIN}/../app/private", "/usr/lib/app/private"} {
		c.found = nil
		c.program(n, fact{Machine: "M", Needed: []string{"liba.so.1"}, RunPath: []string{"/none", runpath}}, "M")
		if len(c.found) > 0 {
			t.Errorf("%s: %v", runpath, c.found)
		}
	}
}

func TestOtherMachine(t *testing.T) {
	tr := sound(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n := hostFile(t, self)
	b, err := readAll(n)
	if err != nil {
		t.Fatal(err)
	}
	foreign := slices.Clone(b[:4096])
	foreign[18], foreign[19] = byte(elf.EM_AARCH64), 0
	if b[18] == byte(elf.EM_AARCH64) {
		foreign[18] = byte(elf.EM_X86_64)
	}
	add(t, tr, &tree.Node{Path: "usr/lib/systemd/systemd", Mode: 0o755, Content: n.Content})
	add(t, tr, &tree.Node{Path: "usr/local/bin/k3s", Mode: 0o755, Content: tree.Bytes(foreign)})
	got := findings(t, tr)
	if len(got) != 1 || !strings.HasPrefix(got[0], "usr/local/bin/k3s: is a program for EM_") {
		t.Errorf("%q", got)
	}
}

func readAll(n *tree.Node) ([]byte, error) {
	t := tree.New()
	c := n.Clone()
	c.Path = "x"
	if err := t.Put(c); err != nil {
		return nil, err
	}
	return t.ReadAll("x")
}

// FuzzReadFact: no content panics or reads beyond itself.
func FuzzReadFact(f *testing.F) {
	if b, err := os.ReadFile("/usr/bin/true"); err == nil {
		f.Add(b)
		f.Add(b[:64])
		f.Add(b[:2048])
	}
	f.Add([]byte("#!/bin/sh\n"))
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := &tree.Node{Path: "x", Mode: 0o755, Content: tree.Bytes(data)}
		if _, err := learn(context.Background(), []*tree.Node{n}, Options{}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzUnit: no unit file panics.
func FuzzUnit(f *testing.F) {
	f.Add("[Service]\nExecStart=-@/bin/x y\\\n z\nUser=a\n")
	f.Add("ExecStart=\"")
	f.Fuzz(func(t *testing.T, text string) {
		tr := sound(t)
		file(t, tr, "usr/lib/systemd/system/x.service", 0o644, text)
		c := newChecker(tr)
		if err := c.units(); err != nil {
			t.Fatal(err)
		}
	})
}
