package apt

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pault.ag/go/debian/dependency"
)

func FuzzPackages(f *testing.F) {
	f.Add(stanza("amd64", "a 1; Depends: b (>= 2) | c:any [amd64], d <!x>; Provides: e (= 1), f; Essential: yes"))
	f.Add("Package: a\nVersion: 1\nProvides: x,\n y (= 2)\n\n\nPackage: b\n")
	f.Add("package: a\n continued\n\tagain\n\nPackage: é\n")
	f.Fuzz(func(t *testing.T, text string) {
		var b bytes.Buffer
		if err := writeIndex(&b, strings.NewReader(text)); err != nil {
			return
		}
		ix, err := readIndex(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatalf("own index is refused: %v", err)
		}
		a, err := newArchive("amd64")
		if err != nil {
			t.Fatal(err)
		}
		a.parts = []*part{{suite: "s", component: "c", index: ix}}
		a.essential()
		for i := range ix.len() {
			name := string(ix.name(ix.packages[i*packageSize:]))
			if !slices.Contains(ix.named(name), i) {
				t.Fatalf("package %q is not found", name)
			}
			p, err := a.at(place{0, i})
			if err != nil {
				continue
			}
			if p.Name != name {
				t.Fatalf("%q is indexed as %q", p.Name, name)
			}
			for _, v := range p.Provides {
				if len(v.Name) <= 1000 && !slices.Contains(ix.providers(v.Name), i) {
					t.Fatalf("%s provides %q, but is not indexed", name, v.Name)
				}
			}
			a.Resolve([]string{name}, nil)
		}
	})
}

// The checksums are made right, or no change would get past them.
func FuzzIndex(f *testing.F) {
	var b bytes.Buffer
	writeIndex(&b, strings.NewReader(stanza("amd64", "a 1; Provides: b")))
	off := bytes.Index(b.Bytes(), []byte("SHA256: ")) + 8 + 64 + 1
	f.Add(b.Bytes()[:b.Len()-footerSize], uint64(off), uint32(1), uint32(1))
	f.Fuzz(func(t *testing.T, data []byte, off uint64, np, nv uint32) {
		if off > uint64(len(data)) {
			return
		}
		file := append(bytes.Clone(data[:off]), appendFooter(bytes.Clone(data[off:]), off, np, nv)...)
		ix, err := readIndex(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		for i := range ix.len() {
			ix.stanza(i)
		}
		ix.essential()
		ix.named("a")
		ix.providers("b")
	})
}

func FuzzRelease(f *testing.F) {
	msg, ring := fullRelease(f)
	f.Add(msg[:1500])
	f.Add(append(bytes.Clone(msg[:900]), msg[bytes.Index(msg, []byte("-----BEGIN PGP SIG")):]...))
	f.Add([]byte("Suite: trixie\nDate: Sat, 21 Nov 2026 02:10:46 UTC\nSHA256:\n " + strings.Repeat("0", 64) + " 1 main/binary-amd64/Packages.gz\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if text, err := verified(data, ring, today); err == nil && !bytes.Contains(msg, text) {
			t.Errorf("verified what the key has not signed: %q", text)
		}
		rel, err := parseRelease(string(data))
		if err != nil {
			return
		}
		rel.check(Suite{Name: "trixie", Components: []string{"main"}}, "amd64", today)
		rel.packages("main", "amd64")
	})
}

func FuzzVersion(f *testing.F) {
	for _, s := range []string{"1", "1:1.0-1", "1.0~rc1-0+b1", "0:0-0", "2.41-12+deb13u4", "1~", "1-1-1", "00001", "9999999999999999999999"} {
		f.Add(s, "1.0", "1:2~3-4")
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, err1 := CompareVersions(a, b)
		ba, err2 := CompareVersions(b, a)
		if (err1 == nil) != (err2 == nil) || sign3(ab) != -sign3(ba) {
			t.Fatalf("%q and %q: %d, %d, %v, %v", a, b, ab, ba, err1, err2)
		}
		if same, err := CompareVersions(a, a); err == nil && same != 0 {
			t.Fatalf("%q differs from itself", a)
		}
		bc, err3 := CompareVersions(b, c)
		ac, _ := CompareVersions(a, c)
		if err1 == nil && err3 == nil && ab <= 0 && bc <= 0 && ac > 0 {
			t.Fatalf("%q ≤ %q ≤ %q < first", a, b, c)
		}
	})
}

func sign3(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func FuzzDependencies(f *testing.F) {
	f.Add("a (>= 1:2.0~) | b:any [amd64 !i386] <!nocheck>, c, ${misc:Depends}")
	f.Add("a(>=1)|b,,|,c:native[linux-any]")
	target, err := dependency.ParseArch("arm64")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, field string) {
		deps, err := parseDependencies(field, target)
		if err != nil {
			return
		}
		for _, d := range deps {
			again, err := parseDependencies(d.String(), target)
			if err != nil || len(again) != 1 || again[0].String() != d.String() {
				t.Fatalf("%q reads back as %v, %v", d, again, err)
			}
		}
	})
}

// The table is deb-version(7) and the corner cases of dpkg's own tests.
func TestCompareVersions(t *testing.T) {
	for _, tc := range []struct {
		a    string
		op   string
		b    string
		want bool
	}{
		{"1.0", "<<", "1.1", true}, {"1.9", "<<", "1.10", true}, {"1.0~rc1", "<<", "1.0", true},
		{"1.0~~", "<<", "1.0~", true}, {"1:0.1", ">>", "99", true}, {"1.0-1", "<<", "1.0-1+b1", true},
		{"1.0", "=", "1.0-0", true}, {"0:1", "=", "1", true}, {"1.0a", ">>", "1.0", true}, {"1.0+", ">>", "1.0a", true},
		{"1.0-1", ">=", "1.0-1", true}, {"001", "=", "1", true}, {"2.41-12+deb13u4", ">=", "2.41-12", true},
		{"1.0", ">>", "1.0", false}, {"1.0", "<<", "1.0", false},
	} {
		if got := (Relation{Op: tc.op, Version: tc.b}).admits(tc.a); got != tc.want {
			t.Errorf("%s %s %s is %v", tc.a, tc.op, tc.b, got)
		}
	}
	for _, bad := range []string{"", "a", "1:", "-1:1", "1 2", "x:1", "1/2"} {
		if _, err := CompareVersions(bad, "1"); err == nil {
			t.Errorf("%q passes for a version", bad)
		}
	}
}
