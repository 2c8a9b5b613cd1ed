package apt

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func files(pairs ...string) fstest.MapFS {
	fs := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fs["etc/apt/"+pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fs
}

func TestHostMirrors(t *testing.T) {
	tests := []struct {
		name string
		fs   fstest.MapFS
		want Mirrors
		err  string
	}{
		{"no apt here", files(), Mirrors{}, ""},
		{"one-line format", files("sources.list", `
# the archive
deb http://mirror.example/debian trixie main non-free-firmware # ours
deb-src http://mirror.example/source trixie main
deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://security.example/debian-security trixie-security main
deb [arch=i386] http://i386.example/debian trixie main
#deb http://off.example/debian trixie main
deb	http://tabs.example/debian	trixie	main
`), Mirrors{[]string{"http://mirror.example/debian/", "http://tabs.example/debian/"}, []string{"https://security.example/debian-security/"}}, ""},
		{"paragraphs", files("sources.list.d/debian.sources", `# Modernized
Types: deb deb-src
URIs: http://mirror.example/debian/
  http://second.example/debian
Suites: trixie trixie-updates
# http://comment.example/debian
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: trixie-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: trixie
Components: main

Types: deb
URIs: http://riscv.example/debian
Suites: trixie
Architectures: riscv64
Components: main
`), Mirrors{[]string{"http://mirror.example/debian/", "http://second.example/debian/"}, []string{"http://mirror.example/debian-security/"}}, ""},
		{"third parties", files("sources.list.d/x.list", `
deb https://packages.example/apt stable main extra
deb https://chrome.example/deb/ stable chrome
deb https://node.example/node_20.x nodistro main
deb https://ubuntu.example/ubuntu noble main universe
deb https://flat.example/repo ./
deb https://mint.example/mint trixie-mint main
deb https://browser.example/linux/deb/ stable main
deb [signed-by=/usr/share/keyrings/tailscale-archive-keyring.gpg] https://vpn.example/stable/debian trixie main
deb [ signed-by=/usr/share/keyrings/spaced.gpg ] https://spaced.example/debian trixie main
`, "sources.list.d/raspi.sources", `
Types: deb
URIs: http://boards.example/debian/
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/raspberrypi-archive-keyring.pgp

Types: deb
URIs: https://inline.example/debian
Suites: stable
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGF5YIABEACn
 -----END PGP PUBLIC KEY BLOCK-----
`), Mirrors{}, ""},
		{"mirrors in other places", files("sources.list", `
deb http://mirror.example/ftp/debian/ trixie main
deb http://ftp.debian.example/pub/linux trixie main
deb [arch=arm64] http://nexus.example/repository/Debian-proxy/ trixie main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.pgp] http://cache.example/d trixie main
deb http://security.debian.example trixie-security main
`), Mirrors{[]string{"http://mirror.example/ftp/debian/", "http://ftp.debian.example/pub/linux/", "http://nexus.example/repository/Debian-proxy/", "http://cache.example/d/"}, []string{"http://security.debian.example/"}}, ""},
		{"what only apt understands", files("sources.list", `
deb cdrom:[Debian 13]/ trixie main
deb mirror+file:/etc/apt/mirrors.txt trixie main
deb tor+http://onion.example/debian trixie main
deb file:/srv/debian trixie main
deb copy:/srv/debian trixie main
deb http:/// trixie main
`), Mirrors{}, ""},
		{"the image's release first", files(
			"sources.list.d/a.list", "deb http://old.example/debian bookworm main\n",
			"sources.list.d/b.list", "deb http://new.example/debian trixie main\ndeb http://old.example/debian trixie-backports main\n"),
			Mirrors{Archive: []string{"http://new.example/debian/", "http://old.example/debian/"}}, ""},
		{"other files of the directory", files("sources.list.d/a.list.save", "deb http://x.example/debian trixie main\n", "sources.list.d/README", "hello"), Mirrors{}, ""},
		{"a broken line hides nothing else", files("sources.list", "deb http://x.example/debian\nnonsense here\ndeb [arch=amd64 http://x\ndeb http://y.example/debian trixie main\n"),
			Mirrors{Archive: []string{"http://y.example/debian/"}}, "/etc/apt/sources.list: line 1: URI or suite is missing\nline 2: \"nonsense\" is neither deb nor deb-src\nline 3: options are not closed by ]"},
		{"broken paragraphs", files("sources.list.d/x.sources", "Types deb\n"), Mirrors{}, `/etc/apt/sources.list.d/x.sources: line 1: "Types deb" is not a field`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := hostMirrors(tc.fs, "arm64", "trixie")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			text := ""
			if err != nil {
				text = err.Error()
			}
			if diff := cmp.Diff(tc.err, text); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSnapshotMirrors(t *testing.T) {
	m := SnapshotMirrors(time.Date(2026, 11, 21, 3, 10, 46, 0, time.FixedZone("", 3600)))
	want := Mirrors{
		Archive:  []string{"https://snapshot.debian.org/archive/debian/20261121T021046Z/"},
		Security: []string{"https://snapshot.debian.org/archive/debian-security/20261121T021046Z/"},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if m.For("trixie-security")[0] != want.Security[0] || m.For("trixie-updates")[0] != want.Archive[0] {
		t.Error("For is wrong")
	}
}

// TestNobodyIsAskedTwice: a package of a lock whose mirrors are the snapshot archive's.
func TestNobodyIsAskedTwice(t *testing.T) {
	at := time.Date(2026, 11, 21, 3, 10, 46, 0, time.UTC)
	p := &Package{Suite: "trixie", Filename: "pool/main/h/htop/htop_1_arm64.deb", Mirrors: SnapshotMirrors(at).Archive}
	want := []string{
		"https://snapshot.debian.org/archive/debian/20261121T031046Z/pool/main/h/htop/htop_1_arm64.deb",
		"https://snapshot.debian.org/archive/debian/20261122T031046Z/pool/main/h/htop/htop_1_arm64.deb",
	}
	if diff := cmp.Diff(want, p.urls(at)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzSources(f *testing.F) {
	f.Add("deb [arch=amd64] http://mirror.example/debian trixie main\n")
	f.Add("Types: deb\nURIs: http://mirror.example/debian\n  http://b\nSuites: trixie\n#x\nComponents: main\n\nEnabled: no\n")
	f.Add("deb [ http://x")
	f.Fuzz(func(t *testing.T, text string) {
		m, _ := hostMirrors(files("sources.list", text, "sources.list.d/x.sources", text), "amd64", "trixie")
		for _, u := range append(m.Archive, m.Security...) {
			if !strings.HasPrefix(strings.ToLower(u), "http") || !strings.HasSuffix(u, "/") {
				t.Errorf("mirror %q", u)
			}
		}
	})
}
