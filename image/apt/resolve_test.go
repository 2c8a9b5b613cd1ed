package apt

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fixture makes an archive of a few lines:
//
//	# trixie/main
//	name version; Field: value; Field: value
//
// Lines without a heading are in trixie/main.
func fixture(t testing.TB, arch, text string) *Archive {
	t.Helper()
	a, err := newArchive(arch)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	stanzas := map[string]string{}
	place := "trixie/main"
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if heading, ok := strings.CutPrefix(line, "# "); ok {
			place = heading
			continue
		}
		if line == "" {
			continue
		}
		if _, ok := stanzas[place]; !ok {
			order = append(order, place)
		}
		stanzas[place] += stanza(arch, line)
	}
	for _, place := range order {
		suite, component, _ := strings.Cut(place, "/")
		a.parts = append(a.parts, &part{suite: suite, component: component, arch: arch, index: memoryIndex(t, stanzas[place])})
	}
	return a
}

func stanza(arch, line string) string {
	fields := strings.Split(line, "; ")
	name, version, _ := strings.Cut(fields[0], " ")
	s := fmt.Sprintf("Package: %s\nVersion: %s\n", name, version)
	if !strings.Contains(line, "Architecture: ") {
		s += "Architecture: " + arch + "\n"
	}
	for _, f := range fields[1:] {
		s += f + "\n"
	}
	return s + fmt.Sprintf("Filename: pool/%s.deb\nSize: 1\nSHA256: %064d\n\n", name, 0)
}

func memoryIndex(t testing.TB, packages string) *index {
	t.Helper()
	var b bytes.Buffer
	if err := writeIndex(&b, strings.NewReader(packages)); err != nil {
		t.Fatal(err)
	}
	ix, err := readIndex(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

func set(pkgs []*Package) string {
	var out []string
	for _, p := range pkgs {
		out = append(out, p.Name+" "+p.Version)
	}
	return strings.Join(out, ", ")
}

func TestResolve(t *testing.T) {
	tests := []struct {
		name, arch, index string
		want              string // what is asked for
		cut               map[string][]string
		set               string // the answer
		err               string // or the error
	}{
		{
			name:  "dependencies of dependencies",
			index: "a 1; Depends: b, c\nb 1; Pre-Depends: d\nc 1\nd 1\ne 1",
			want:  "a", set: "a 1, b 1, c 1, d 1",
		},
		{
			name:  "cycle",
			index: "a 1; Depends: b\nb 1; Depends: c\nc 1; Pre-Depends: a",
			want:  "a", set: "a 1, b 1, c 1",
		},
		{
			name:  "essential packages come along",
			index: "a 1\ne 1; Essential: yes; Depends: f\nf 1",
			want:  "a", set: "a 1, e 1, f 1",
		},
		{
			name:  "recommends are off",
			index: "a 1; Recommends: b\nb 1",
			want:  "a", set: "a 1",
		},
		{
			name:  "first alternative",
			index: "a 1; Depends: b | c\nb 1\nc 1",
			want:  "a", set: "a 1, b 1",
		},
		{
			name:  "alternative already wanted",
			index: "a 1; Depends: b | c\nb 1\nc 1",
			want:  "a c", set: "a 1, c 1",
		},
		{
			name:  "alternative needed by another",
			index: "a 1; Depends: b | c, d\nb 1\nc 1\nd 1; Depends: c",
			want:  "a", set: "a 1, c 1, d 1",
		},
		{
			name:  "first alternative does not exist",
			index: "a 1; Depends: nowhere | b (>= 2) | c\nb 1\nc 1",
			want:  "a", set: "a 1, c 1",
		},
		{
			name:  "backtracking out of a deep conflict",
			index: "a 1; Depends: b | c\nb 1; Depends: d\nd 1; Depends: e\ne 1; Conflicts: a\nc 1",
			want:  "a", set: "a 1, c 1",
		},
		{
			name:  "backtracking over two choices",
			index: "a 1; Depends: b | c, x | y\nb 1\nc 1\nx 1; Conflicts: b; Depends: z\ny 1; Conflicts: b\nz 1",
			want:  "a", set: "a 1, c 1, x 1, z 1",
		},
		{
			name:  "virtual package",
			index: "a 1; Depends: mta\np 1; Provides: mta; Priority: optional\nq 1; Provides: mta; Priority: optional",
			want:  "a", set: "a 1, p 1",
		},
		{
			name:  "provider of higher priority",
			index: "a 1; Depends: mta\np 1; Provides: mta; Priority: optional\nq 1; Provides: mta; Priority: important",
			want:  "a", set: "a 1, q 1",
		},
		{
			name:  "the real package before providers",
			index: "a 1; Depends: mta\np 1; Provides: mta; Priority: required\nmta 1",
			want:  "a", set: "a 1, mta 1",
		},
		{
			name:  "versioned provision",
			index: "a 1; Depends: lib (>= 2)\np 1; Provides: lib (= 1.5)\nq 1; Provides: other, lib (= 2.1)",
			want:  "a", set: "a 1, q 1",
		},
		{
			name:  "unversioned provision is no version",
			index: "a 1; Depends: lib (>= 2)\np 1; Provides: lib",
			want:  "a", err: "a 1 (requested) needs lib (>= 2), which is only provided without a fitting version by p",
		},
		{
			name:  "provision only of an old version",
			index: "# trixie/main\na 1; Depends: v\np 1; Provides: v\n# trixie-security/main\np 2",
			want:  "a", err: "a 1 (requested) needs v, which does not exist in trixie/main, trixie-security/main",
		},
		{
			name:  "virtual wish with one provider",
			index: "p 1; Provides: mta",
			want:  "mta", err: "mta is a virtual package; write p, which provides it",
		},
		{
			name:  "virtual wish with several providers",
			index: "p 1; Provides: mta\nq 1; Provides: mta",
			want:  "mta", err: "mta is a virtual package; name one of p, q",
		},
		{
			name:  "the newest version of all suites",
			index: "# trixie/main\na 1.9\n# trixie-updates/main\na 1.10~rc1\n# trixie-security/main\na 1.10~beta",
			want:  "a", set: "a 1.10~rc1",
		},
		{
			name:  "epoch beats everything",
			index: "# trixie/main\na 1:0.1\n# trixie-updates/main\na 99",
			want:  "a", set: "a 1:0.1",
		},
		{
			name:  "pinned version",
			index: "# trixie/main\na 1\n# trixie-security/main\na 2",
			want:  "a=1", set: "a 1",
		},
		{
			name:  "pinned suite",
			index: "# trixie/main\na 1; Depends: b\nb 1\n# trixie-security/main\na 2; Depends: b\nb 2",
			want:  "a/trixie", set: "a 1, b 2",
		},
		{
			name:  "pinned out of reach",
			index: "# trixie/main\na 1; Depends: b (>= 2)\nb 1\n# trixie-security/main\nb 2",
			want:  "a b=1",
			err:   "a 1 (requested) needs b (>= 2), but it is pinned by b=1",
		},
		{
			name:  "no such version",
			index: "a 1", want: "a=3", err: "a=3: a only exists as 1 in trixie/main",
		},
		{
			name:  "two pins",
			index: "a 1", want: "a=1 a=2", err: "a=1 and a=2: one image has one version of a package",
		},
		{
			name:  "wish with architecture",
			index: "a 1", want: "a:amd64", set: "a 1",
		},
		{
			name:  "wish for another architecture",
			index: "a 1", want: "a:armhf", err: "a:armhf: this archive is for amd64",
		},
		{
			name:  "typing errors",
			index: "openssh-server 1\nbash 1", want: "openshs-server bsh nothing",
			err: "package openshs-server not found in trixie/main; did you mean openssh-server?\npackage bsh not found in trixie/main; did you mean bash?\npackage nothing not found in trixie/main",
		},
		{
			name:  "not a name",
			index: "a 1", want: "../a", err: `"../a" is not a package name`,
		},
		{
			name:  "the whole chain",
			index: "base 3; Depends: init\ninit 1; Depends: bash\nbash 5; Depends: libfoo (>= 2)\nlibfoo 1.9",
			want:  "base", err: "bash 5 (wanted by base → init) needs libfoo (>= 2), which only exists as 1.9 in trixie/main",
		},
		{
			name:  "every alternative",
			index: "a 1; Depends: b (<< 1) | c | d\nb 1\nd 1; Conflicts: a",
			want:  "a",
			err:   "a 1 (requested) needs b (<< 1) | c | d:\n  b (<< 1), which only exists as 1 in trixie/main\n  c, which does not exist in trixie/main\n  d, but d 1 (wanted by a) cannot be together with a 1 (requested): d has Conflicts: a",
		},
		{
			name:  "conflict",
			index: "a 1; Depends: b\nb 2; Conflicts: c (<< 3)\nc 2",
			want:  "a c", err: "a 1 (requested) needs b, but b 2 (wanted by a) cannot be together with c 2 (requested): b has Conflicts: c (<< 3)",
		},
		{
			name:  "conflict of other versions",
			index: "a 1; Conflicts: c (<< 2)\nc 2", want: "a c", set: "a 1, c 2",
		},
		{
			name:  "a conflict with another architecture's is none",
			index: "a 1; Conflicts: b:x32, c:i386\nb 1; Breaks: c:i386\nc 1", want: "a b c", set: "a 1, b 1, c 1",
		},
		{
			name:  "a conflict with any architecture's is one",
			index: "a 1; Conflicts: b:any\nb 1",
			want:  "a b", err: "a 1 (requested) cannot be together with b 1 (requested): a has Conflicts: b:any",
		},
		{
			name:  "a conflict with our architecture's is one",
			index: "a 1; Breaks: b:amd64\nb 1",
			want:  "a b", err: "a 1 (requested) cannot be together with b 1 (requested): a has Breaks: b:amd64",
		},
		{
			name:  "breaks, declared by the later one",
			index: "a 1; Breaks: c (<= 2)\nc 2",
			want:  "c a", err: "a 1 (requested) cannot be together with c 2 (requested): a has Breaks: c (<= 2)",
		},
		{
			name:  "conflict with a virtual package, but not with oneself",
			index: "p 1; Provides: mta; Conflicts: mta\nq 1; Provides: mta; Conflicts: mta",
			want:  "p", set: "p 1",
		},
		{
			name:  "two that provide the same exclusively",
			index: "p 1; Provides: mta; Conflicts: mta\nq 1; Provides: mta",
			want:  "q p", err: "p 1 (requested) cannot be together with q 1 (requested): p has Conflicts: mta",
		},
		{
			name:  "versioned conflict with an unversioned provision",
			index: "p 1; Conflicts: v (<< 9)\nq 1; Provides: v", want: "p q", set: "p 1, q 1",
		},
		{
			name:  "replaces alone is no relation",
			index: "a 1; Replaces: b\nb 1", want: "a b", set: "a 1, b 1",
		},
		{
			name:  "name:any with Multi-Arch: allowed",
			index: "a 1; Depends: python3:any\npython3 3; Multi-Arch: allowed", want: "a", set: "a 1, python3 3",
		},
		{
			name:  "name:any without it",
			index: "a 1; Depends: b:any\nb 3; Multi-Arch: foreign",
			want:  "a", err: "a 1 (requested) needs b:any, but b 3 is not for that architecture (Multi-Arch: foreign)",
		},
		{
			name:  "name:native and our own architecture",
			index: "a 1; Depends: b:native, c:amd64\nb 1\nc 1", want: "a", set: "a 1, b 1, c 1",
		},
		{
			name:  "foreign architecture",
			index: "a 1; Depends: b:i386 | c\nb 1\nc 1", want: "a", set: "a 1, c 1",
		},
		{
			name:  "architecture all",
			index: "a 1; Architecture: all; Depends: b\nb 1; Architecture: all; Multi-Arch: foreign", want: "a", set: "a 1, b 1",
		},
		{
			name:  "packages of other architectures are not there",
			index: "a 2; Architecture: i386\na 1", want: "a", set: "a 1",
		},
		{
			name: "dependency lists by architecture", arch: "arm64",
			index: "a 1; Depends: b [amd64], c [arm64 riscv64], d [!arm64], e [linux-any]\nb 1\nc 1\nd 1\ne 1",
			want:  "a", set: "a 1, c 1, e 1",
		},
		{
			name:  "build profiles do not hold here",
			index: "a 1; Depends: b <!nocheck>, c\nb 1\nc 1", want: "a", set: "a 1, c 1",
		},
		{
			name:  "cut",
			index: "linux-image-6 1; Depends: kmod, initramfs-tools (>= 1) | linux-initramfs-tool\nkmod 1\ninitramfs-tools 1; Provides: linux-initramfs-tool\nb 1; Depends: kmod",
			want:  "linux-image-6 b", cut: map[string][]string{"linux-image-*": {"linux-initramfs-tool"}, "b": {"other"}},
			set: "b 1, kmod 1, linux-image-6 1",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if tc.arch == "" {
				tc.arch = "amd64"
			}
			a := fixture(t, tc.arch, tc.index)
			got, err := a.Resolve(strings.Fields(tc.want), tc.cut)
			if tc.err != "" {
				if err == nil {
					t.Fatalf("no error, but %s", set(got))
				}
				if !strings.HasPrefix(err.Error(), tc.err) {
					t.Errorf("error (-want +got):\n%s", cmp.Diff(tc.err, err.Error()))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.set, set(got)); diff != "" {
				t.Errorf("set (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFirstSuiteOfEqualVersions(t *testing.T) {
	a := fixture(t, "amd64", "# trixie-security/main\na 1\n# trixie/main\na 1")
	got, err := a.Resolve([]string{"a"}, nil)
	if err != nil || len(got) != 1 || got[0].Suite != "trixie-security" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestResolveIsDeterministic(t *testing.T) {
	index := "root 1; Depends: "
	for i := range 30 {
		index += fmt.Sprintf("v%d, ", i)
	}
	index += "z\nz 1\n"
	for i := range 30 {
		for j := range 4 {
			index += fmt.Sprintf("p%d-%d 1; Provides: v%d, v%d; Conflicts: p%d-%d\n", i, j, i, (i+1)%30, i, (j+1)%4)
		}
	}
	first := ""
	for range 20 {
		got, err := fixture(t, "amd64", index).Resolve([]string{"root"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = set(got)
		}
		if set(got) != first {
			t.Fatalf("two answers:\n%s\n%s", first, set(got))
		}
	}
}

func TestResolveGivesUp(t *testing.T) {
	// A pigeonhole problem: 11 pigeons, 10 holes, each hole for one.
	var index strings.Builder
	for p := range 11 {
		fmt.Fprintf(&index, "pigeon%d 1; Depends: ", p)
		for h := range 10 {
			if h > 0 {
				index.WriteString(" | ")
			}
			fmt.Fprintf(&index, "in%d-%d", p, h)
		}
		index.WriteString("\n")
		for h := range 10 {
			fmt.Fprintf(&index, "in%d-%d 1; Provides: hole%d; Conflicts: hole%d\n", p, h, h, h)
		}
	}
	var want []string
	for p := range 11 {
		want = append(want, fmt.Sprintf("pigeon%d", p))
	}
	_, err := fixture(t, "amd64", index.String()).Resolve(want, nil)
	if err == nil || !strings.Contains(err.Error(), "no solution found in") {
		t.Errorf("error = %v", err)
	}
}

func TestPackageFields(t *testing.T) {
	a := fixture(t, "amd64", "")
	a.parts = []*part{{suite: "trixie", component: "main", arch: "amd64", mirrors: []string{"http://mirror.example/debian"}, index: memoryIndex(t, `Package: libc6
Source: glibc (2.41-12)
Version: 2.41-12+b1
Installed-Size: 100
Maintainer: someone
Architecture: amd64
Multi-Arch: same
Provides: libc6-x,
 libc6-y (= 2)
Depends: libgcc-s1
Description: GNU C Library
Section: libs
Priority: optional
Filename: pool/main/g/glibc/libc6.deb
Size: 12
SHA256: 0000000000000000000000000000000000000000000000000000000000000000
`)}}
	got, err := a.Versions("libc6")
	if err != nil {
		t.Fatal(err)
	}
	want := []*Package{{
		Name: "libc6", Version: "2.41-12+b1", Architecture: "amd64",
		Priority: "optional", Filename: "pool/main/g/glibc/libc6.deb",
		SHA256: strings.Repeat("0", 64), Size: 12, MultiArch: "same", Suite: "trixie", Component: "main",
		Mirrors: []string{"http://mirror.example/debian"}, Depends: []Dependency{{{Name: "libgcc-s1"}}},
		Conflicts: nil, Provides: []Relation{{Name: "libc6-x"}, {Name: "libc6-y", Op: "=", Version: "2"}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p := a.providing("libc6-y"); len(p) != 1 {
		t.Errorf("a continued Provides gives %v", p)
	}
}

// TestFilenameStaysInTheArchive: the name is appended to a mirror's address,
// and to a directory where the mirror is one.
func TestFilenameStaysInTheArchive(t *testing.T) {
	for _, name := range []string{"../../etc/shadow", "pool/../../shadow", "/etc/shadow", "pool//x.deb", "./x.deb"} {
		a := fixture(t, "amd64", "")
		a.parts = []*part{{suite: "trixie", component: "main", arch: "amd64", index: memoryIndex(t,
			"Package: p\nVersion: 1\nArchitecture: amd64\nSize: 1\nSHA256: "+strings.Repeat("0", 64)+"\nFilename: "+name+"\n")}}
		if _, err := a.Versions("p"); err == nil || !strings.Contains(err.Error(), "leaves the archive") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestOtherSuite: a suite with Only provides the named packages, and those of their dependencies
// that no other suite has; the other packages do not change.
func TestOtherSuite(t *testing.T) {
	a := fixture(t, "arm64", `
		base 1; Essential: yes; Depends: mta
		kmod 34
		linux-image-arm64 6.12
		linux-base 4.12
		nullmailer 2; Provides: mta
		# trixie-backports/main
		base 2; Essential: yes
		extra 1; Essential: yes
		kmod 35
		linux-base 4.17
		linux-image-arm64 7.3; Depends: linux-image-7.3 (= 7.3)
		linux-image-7.3 7.3; Pre-Depends: linux-base (>= 4.17~); Depends: kmod
		newmailer 1; Provides: mta; Priority: required
	`)
	only := func(names ...string) {
		a.parts[1].only = names
	}
	only("linux-image-arm64", "linux-base")
	got, err := a.Resolve([]string{"linux-image-arm64/trixie-backports", "linux-base/trixie-backports"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := "base 1, kmod 34, linux-base 4.17, linux-image-7.3 7.3, linux-image-arm64 7.3, nullmailer 2"; set(got) != want {
		t.Errorf("%s, want %s", set(got), want)
	}
	only("linux-image-arm64")
	_, err = a.Resolve([]string{"linux-image-arm64/trixie-backports"}, nil)
	if want := "linux-base (>= 4.17~), which only exists as 4.12 in trixie/main; trixie-backports has 4.17: name it there in suites:"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	only("kmodd")
	_, err = a.Resolve([]string{"kmodd/trixie-backports"}, nil)
	if err == nil || !strings.Contains(err.Error(), "did you mean kmod") || !strings.Contains(err.Error(), "trixie-backports") {
		t.Errorf("a package that the suite does not have: %v", err)
	}
	only("nullmailer")
	_, err = a.Resolve([]string{"nullmailer/trixie-backports"}, nil)
	if err == nil || !strings.Contains(err.Error(), "nullmailer/trixie-backports: nullmailer only exists as 2 in trixie/main") {
		t.Errorf("a package that another suite has: %v", err)
	}
	_, err = a.Resolve([]string{"newmailer", "kmod"}, nil)
	if err == nil || err.Error() != "newmailer is in trixie-backports alone: name it there in suites:" {
		t.Errorf("a package by its bare name that only a suite for others has: %v", err)
	}
	if got, err := a.Resolve([]string{"newmailer", "newmailer/trixie-backports"}, nil); err != nil || !strings.Contains(set(got), "newmailer 1") {
		t.Errorf("the same by its full name: %v, %v", got, err)
	}
}
