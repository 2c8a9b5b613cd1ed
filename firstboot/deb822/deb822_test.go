package deb822_test

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/deb822"
)

func TestReader(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"blank lines around", "\n\na: 1\n\n\n \nb: 2\n\n", "a: 1\n|b: 2\n|"},
		{"no newline at the end", "a: 1\n\nb: 2", "a: 1\n|b: 2\n|"},
		{"carriage returns", "a: 1\r\n\r\nb: 2\r\n", "a: 1\n|b: 2\n|"},
		{"dropped with its continuation", "a: 1\nx: 1\n more\n more\nb: 2\n", "a: 1\nb: 2\n|"},
		{"kept with its continuation", "A: 1\n more\nx: 1\n", "A: 1\n more\n|"},
		{"nothing", "\n", ""},
		{"comments", "# a\na: 1\n# b\n more\n#c: 1\nb: 2\n", "a: 1\n more\nb: 2\n|"},
		{"not a field", "a 1\n", `line 1: "a 1" is not a field`},
		{"continuation of nothing", " a\n", "line 1: continuation of no field"},
		{"long line", "a: 1\nb: " + strings.Repeat("x", 1<<20) + "\n", "line 2: longer than 1048576 bytes"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s := deb822.NewReader(strings.NewReader(tc.in), func(name []byte) bool { return string(name) != "x" })
			got := ""
			for {
				stanza, err := s.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					got = err.Error()
					break
				}
				got += string(stanza) + "|"
			}
			if got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestAll(t *testing.T) {
	got, err := deb822.All("Package: a\nDescription: short\n long\n .\n more\n\nPACKAGE: b\n# no field\nEmpty:\n")
	want := []deb822.Paragraph{{"package": "a", "description": "short\nlong\n.\nmore"}, {"package": "b", "empty": ""}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	if _, err := deb822.All("a: 1\n\nb: 1\nB: 2\n"); err == nil || err.Error() != "paragraph before line 5: field b occurs twice" {
		t.Error(err)
	}
}

func TestField(t *testing.T) {
	const text = "Package: a\nProvides: x,\n y\nMulti-Arch:same \nDescription: d\n Package: no\n"
	for name, want := range map[string]string{"package": "a", "Provides": "x,\n y", "Multi-Arch": "same", "Description": "d\n Package: no", "Multi": "", "x": ""} {
		if got := deb822.Field(text, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if got := deb822.Field([]byte(text), name); string(got) != want {
			t.Errorf("%s of bytes: %q, want %q", name, got, want)
		}
	}
}

func TestSource(t *testing.T) {
	for field, want := range map[string]string{"": "bin 2", "src": "src 2", "src (1)": "src 1", "src(1)": "src 1", "(1)": "bin 1"} {
		if name, version := deb822.Source(field, "bin", "2"); name+" "+version != want {
			t.Errorf("%q: %s %s, want %s", field, name, version, want)
		}
	}
}

// FuzzAll: whoever reads a field alone sees what a reader of all sees.
func FuzzAll(f *testing.F) {
	f.Add("Package: a\nProvides: x,\n y\n\nPackage: b\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := deb822.NewReader(strings.NewReader(text), nil)
		all, _ := deb822.All(text)
		for _, p := range all {
			b, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range p {
				raw := deb822.Field(string(b), name)
				if strings.Join(strings.Fields(raw), " ") != strings.Join(strings.Fields(value), " ") {
					t.Errorf("field %q is %q alone, %q with all", name, raw, value)
				}
			}
		}
	})
}
