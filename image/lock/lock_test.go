package lock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	day  = time.Date(2026, 11, 21, 2, 10, 46, 0, time.UTC)
	sumA = strings.Repeat("a", 64)
	sumB = strings.Repeat("b", 64)
)

func example() *Lock {
	return &Lock{
		Version: 1, Board: "rpi4", Arch: "arm64", Timestamp: day, Inputs: sumB,
		Suites: []Suite{{Name: "trixie", Date: day, InReleaseSHA256: sumA, Components: []string{"main", "non-free-firmware"}}},
		Packages: []Package{
			{Name: "zlib1g", Version: "1:1.3+really1.3.1-1", Arch: "arm64", Suite: "trixie", Filename: "pool/main/z/zlib/zlib1g_1.3_arm64.deb", Size: 10, SHA256: sumA},
			{Name: "base-files", Version: "13.8", Arch: "all", Suite: "trixie", Filename: "pool/main/b/base-files/base-files_13.8_all.deb", Size: 20, SHA256: sumB},
		},
		Components: []Component{
			{Name: "tailscaled", Version: "1.2.3", Arch: "arm64", SHA256: sumA, BuiltFrom: "example.com/m@v1.2.3", Toolchain: "go1.26"},
			{Name: "k3s", Version: "v1.34+k3s1", Arch: "arm64", URL: "https://example.com/k3s", SHA256: sumB, Size: 7, Deferred: true},
		},
		Images: []Image{
			{Name: "docker.io/team/app:v1", Digest: "sha256:" + sumB},
			{Name: "docker.io/library/nginx:1.29", Digest: "sha256:" + sumA},
		},
	}
}

const exampleText = `{
  "version": 1,
  "board": "rpi4",
  "arch": "arm64",
  "timestamp": "2026-11-21T02:10:46Z",
  "inputs": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
  "suites": [
    {
      "name": "trixie",
      "date": "2026-11-21T02:10:46Z",
      "inReleaseSHA256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      "components": [
        "main",
        "non-free-firmware"
      ]
    }
  ],
  "packages": [
    {
      "name": "base-files",
      "version": "13.8",
      "arch": "all",
      "suite": "trixie",
      "filename": "pool/main/b/base-files/base-files_13.8_all.deb",
      "size": 20,
      "sha256": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    },
    {
      "name": "zlib1g",
      "version": "1:1.3+really1.3.1-1",
      "arch": "arm64",
      "suite": "trixie",
      "filename": "pool/main/z/zlib/zlib1g_1.3_arm64.deb",
      "size": 10,
      "sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    }
  ],
  "components": [
    {
      "name": "k3s",
      "version": "v1.34+k3s1",
      "arch": "arm64",
      "url": "https://example.com/k3s",
      "sha256": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
      "size": 7,
      "deferred": true
    },
    {
      "name": "tailscaled",
      "version": "1.2.3",
      "arch": "arm64",
      "sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      "builtFrom": "example.com/m@v1.2.3",
      "toolchain": "go1.26"
    }
  ],
  "images": [
    {
      "name": "docker.io/library/nginx:1.29",
      "digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    },
    {
      "name": "docker.io/team/app:v1",
      "digest": "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    }
  ]
}
`

func TestMarshalLoad(t *testing.T) {
	l := example()
	l.Timestamp = l.Timestamp.In(time.FixedZone("elsewhere", 3600))
	b, err := l.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(exampleText, string(b)); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	name := filepath.Join(t.TempDir(), "image.lock.json")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example().canonical(), got); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
}

func TestMarshalRefusesInvalid(t *testing.T) {
	l := example()
	l.Packages[0].SHA256 = "short"
	if b, err := l.Marshal(); err == nil || !strings.Contains(err.Error(), "packages[1].sha256") {
		t.Errorf("error = %v, %s", err, b)
	}
}

func TestEmptyComponentsStayAList(t *testing.T) {
	l := example()
	l.Components = nil
	b, err := l.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse("x", b); err != nil {
		t.Error(err)
	}
}

// TestNoOverlaysAreNotUnknownOverlays: only a lock of an earlier version does not say.
func TestNoOverlaysAreNotUnknownOverlays(t *testing.T) {
	for _, overlays := range [][]string{nil, {}, {"headscale", "own"}} {
		l := example()
		l.Overlays = overlays
		b, err := l.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse("x", b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(overlays, got.Overlays); diff != "" {
			t.Errorf("overlays (-want +got):\n%s", diff)
		}
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"unknown field", `"board": "rpi4"`, `"bord": "rpi4"`, `f.json:3: field "bord": unknown (did you mean "board"?)`},
		{"unknown inner field", `"deferred": true`, `"later": true`, `f.json:46: field "components[0].later": unknown (known here: arch, `},
		{"case matters", `"board"`, `"Board"`, `f.json:3: field "Board": unknown (did you mean "board"?)`},
		{"repeated", `"arch": "arm64",` + "\n  \"times", `"board": "x",` + "\n  \"times", `f.json:4: field "board": is already set on line 3`},
		{"wrong kind", `"size": 20`, `"size": "20"`, `f.json:25: field "packages[0].size": want a whole number, have text`},
		{"fraction", `"size": 20`, `"size": 2.5`, `f.json:25: field "packages[0].size": want a whole number, have a number with a fraction`},
		{"bad time", `"timestamp": "2026-11-21T02:10:46Z"`, `"timestamp": "yesterday"`, `f.json:5: field "timestamp": parsing time "yesterday"`},
		{"sub-second", `"timestamp": "2026-11-21T02:10:46Z"`, `"timestamp": "2026-11-21T02:10:46.5Z"`, `f.json:5: field "timestamp": is missing, or not a whole second since 1970`},
		{"null", `"timestamp": "2026-11-21T02:10:46Z"`, `"timestamp": null`, `f.json:5: field "timestamp": is missing`},
		{"other version", `"version": 1`, `"version": 2`, `f.json:2: field "version": is 2; this imagebuilder reads version 1`},
		{"missing", `"board": "rpi4",`, ``, `f.json:1: field "board": is missing`},
		{"digest", `"sha256": "` + sumA + `"`, `"sha256": "xyz"`, `f.json:35: field "packages[1].sha256": "xyz" is not a sha256 in lower-case hex`},
		{"order", `"name": "base-files"`, `"name": "zzz"`, `f.json:29: field "packages[1].name": zlib1g stands after zzz; packages are sorted by name`},
		{"twice", `"name": "base-files"`, `"name": "zlib1g"`, `f.json:29: field "packages[1].name": zlib1g is listed twice`},
		{"escape", `"pool/main/b/base-files/base-files_13.8_all.deb"`, `"../../etc/passwd"`, `f.json:24: field "packages[0].filename": "../../etc/passwd" is not a path below a mirror`},
		{"other arch", `"arch": "all"`, `"arch": "amd64"`, `f.json:22: field "packages[0].arch": is "amd64", but the lock is for arm64`},
		{"no such suite", `"suite": "trixie"`, `"suite": "sid"`, `f.json:23: field "packages[0].suite": "sid" is not in suites`},
		{"password in URL", `https://example.com`, `https://u:p@example.com`, `f.json:43: field "components[0].url": "https://u:xxxxx@example.com/k3s" has a user or password, which a lock must not`},
		{"deferred to nowhere", `      "url": "https://example.com/k3s",` + "\n", ``, `f.json:39: field "components[0].url": is missing; a deferred component needs one`},
		{"image without a digest", `,` + "\n      " + `"digest": "sha256:` + sumB + `"`, ``, `f.json:62: field "images[1].digest": "" is no digest: sha256: and 64`},
		{"image by a short digest", `"digest": "sha256:` + sumB[:1], `"digest": "sha256:`, `f.json:64: field "images[1].digest": "sha256:` + sumB[1:] + `" is no digest: sha256: and 64 digits of lower-case hex`},
		{"image by another hash", `"digest": "sha256:` + sumB, `"digest": "sha512:` + sumB, `f.json:64: field "images[1].digest": "sha512:`},
		{"image by capitals", `"digest": "sha256:` + sumA, `"digest": "sha256:` + strings.ToUpper(sumA), `f.json:60: field "images[0].digest": "sha256:A`},
		{"image without a tag", `nginx:1.29`, `nginx`, `f.json:59: field "images[0].name": "docker.io/library/nginx" is not spelled in full: docker.io/library/nginx:sha256-`},
		{"image with two digests", `nginx:1.29`, `nginx:1.29@sha256:` + sumA, `f.json:59: field "images[0].name": "docker.io/library/nginx:1.29@sha256:` + sumA + `@sha256:` + sumA + `": `},
		{"image in short", `docker.io/library/nginx:1.29`, `nginx:1.29`, `f.json:59: field "images[0].name": "nginx:1.29" is not spelled in full: docker.io/library/nginx:1.29`},
		{"images in disorder", `docker.io/library/nginx`, `ghcr.io/nginx`, `f.json:63: field "images[1].name": docker.io/team/app:v1 does not stand after ghcr.io/nginx:1.29`},
		{"syntax", `"version": 1,`, `"version": 1`, `f.json:3: invalid character '"' after object key:value pair`},
		{"cut short", "    }\n  ]\n}\n", "", `f.json:64: unexpected end of JSON input`},
		{"something after", "  ]\n}\n", "  ]\n}\n{}\n", `f.json:68: invalid character '{' after top-level value`},
		{"not an object", exampleText, `[1]`, `f.json:1: want a mapping`},
		{"deep", exampleText, strings.Repeat("[", 100000), `exceeded max depth`},
		{"empty", exampleText, ``, `f.json:1: unexpected end of JSON input`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Replace(exampleText, tc.old, tc.new, 1)
			if text == exampleText {
				t.Fatal("the test changes nothing")
			}
			_, err := Parse("f.json", []byte(text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v\nwant    %s", err, tc.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(exampleText))
	f.Add([]byte(`{"version":1,"suites":[{"date":"2026-11-21T02:10:46+01:00"}]}`))
	f.Add([]byte(`[[{"a":null}]]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse("f.json", data)
		if err != nil {
			return
		}
		b, err := l.Marshal()
		if err != nil {
			t.Fatalf("parsed, but does not marshal: %v", err)
		}
		again, err := Parse("f.json", b)
		if err != nil {
			t.Fatalf("own text is refused: %v", err)
		}
		if c, err := again.Marshal(); err != nil || string(c) != string(b) {
			t.Fatalf("text is not stable: %v", err)
		}
	})
}
