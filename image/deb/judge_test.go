package deb

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	godiff "github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestJudge builds packages with dpkg-deb in every compression and compares
// what Decode reads with what dpkg-deb and tar say.
func TestJudge(t *testing.T) {
	root := t.TempDir()
	writeTestRoot(t, root)
	for _, z := range []string{"none", "gzip", "xz", "zstd"} {
		t.Run(z, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "judged.deb")
			run(t, nil, "dpkg-deb", "--root-owner-group", "-Z"+z, "-b", root, path)
			judge(t, path)
		})
	}
}

func writeTestRoot(t *testing.T, root string) {
	t.Helper()
	long := strings.Repeat("long-directory-name/", 12) + strings.Repeat("x", 120)
	for name, data := range map[string]string{
		"DEBIAN/control":          testControl + "Maintainer: nobody <nobody@example.org>\n",
		"DEBIAN/postinst":         "#!/bin/sh\nset -e\n",
		"DEBIAN/conffiles":        "/etc/hello.conf\n",
		"etc/hello.conf":          "greeting = hello\n",
		"usr/bin/hello":           strings.Repeat("\x7fELF and more ", 20000),
		"usr/share/empty":         "",
		"usr/share/Főtanúsítvány": "utf-8",
		"usr/share/with space":    "spaces  in the name",
		"usr/share/" + long:       "GNU long name",
	} {
		p := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, []byte(data), 0o644))
		must(t, os.Chtimes(p, time.Unix(1700000000, 0), time.Unix(1700000000+int64(len(name)), 0)))
	}
	must(t, os.Chmod(filepath.Join(root, "DEBIAN/postinst"), 0o755))
	must(t, os.Chmod(filepath.Join(root, "usr/bin/hello"), 0o4755|fs.ModeSetuid))
	must(t, os.Chmod(filepath.Join(root, "usr/share"), 0o755|fs.ModeSticky))
	must(t, os.Symlink("../../etc/hello.conf", filepath.Join(root, "usr/share/conf")))
	must(t, os.Symlink(strings.Repeat("deep/", 40), filepath.Join(root, "usr/share/longlink")))
	must(t, os.Link(filepath.Join(root, "usr/bin/hello"), filepath.Join(root, "usr/bin/hullo")))
	must(t, os.Link(filepath.Join(root, "usr/bin/hello"), filepath.Join(root, "usr/bin/hallo")))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// judge compares a decoded package with dpkg-deb's and tar's view of it:
// every entry of the listing, every byte of every file, every control file.
func judge(t *testing.T, path string) {
	t.Helper()
	p := decodeFile(t, openCache(t), path)
	dir := t.TempDir()
	tarFile := filepath.Join(dir, "data.tar")
	must(t, os.WriteFile(tarFile, []byte(run(t, nil, "dpkg-deb", "--fsys-tarfile", path)), 0o644))
	want := run(t, nil, "tar", "-tvf", tarFile, "--numeric-owner", "--full-time", "--quoting-style=literal")
	if d := godiff.Diff(normalise(want), listing(p.Nodes)); d != "" {
		t.Errorf("%s: tar lists other entries (-tar +ours):\n%s", path, d)
	}
	run(t, nil, "dpkg-deb", "-x", path, filepath.Join(dir, "x"))
	if d := godiff.Diff(hostSums(t, filepath.Join(dir, "x"), p.Nodes), nodeSums(t, p.Nodes)); d != "" {
		t.Errorf("%s: dpkg-deb -x unpacks other contents (-dpkg +ours):\n%s", path, d)
	}
	judgeControl(t, p, path, filepath.Join(dir, "e"))
}

func judgeControl(t *testing.T, p *Package, path, dir string) {
	t.Helper()
	run(t, nil, "dpkg-deb", "-e", path, dir)
	got := map[string]string{"control": p.Control}
	for name, data := range p.ControlFiles {
		got[name] = data
	}
	want := map[string]string{}
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must(t, err)
		want[f.Name()] = string(b)
	}
	if d := godiff.Diff(want, got); d != "" {
		t.Errorf("%s: dpkg-deb -e has other control files (-dpkg +ours):\n%s", path, d)
	}
	name := run(t, nil, "dpkg-deb", "-f", path, "Package", "Version", "Architecture")
	if got := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\n", p.Name, p.Version, p.Architecture); name != got {
		t.Errorf("%s: dpkg-deb -f says\n%s, we say\n%s", path, name, got)
	}
}

// normalise reduces the columns of tar -tv to single spaces.
func normalise(listing string) string {
	var b strings.Builder
	for line := range strings.Lines(listing) {
		var cols []string
		for range 5 {
			line = strings.TrimLeft(line, " ")
			col, rest, _ := strings.Cut(line, " ")
			cols, line = append(cols, col), rest
		}
		fmt.Fprintf(&b, "%s %s", strings.Join(cols, " "), line)
	}
	return b.String()
}

// listing prints nodes as tar -tv does.
func listing(nodes []*tree.Node) string {
	var b strings.Builder
	for _, n := range nodes {
		kind, name, size := "-", "./"+n.Path, n.Size()
		switch {
		case n.Mode.IsDir():
			kind, name = "d", strings.TrimSuffix(name, ".")
			if n.Path != "." {
				name += "/"
			}
		case n.Mode&fs.ModeSymlink != 0:
			kind, name = "l", name+" -> "+n.Link
		case n.IsHardLink():
			kind, name = "h", name+" link to ./"+n.Link
		}
		fmt.Fprintf(&b, "%s%s %d/%d %d %s %s\n", kind, rwx(n.Mode), n.UID, n.GID, size,
			n.ModTime.Format("2006-01-02 15:04:05"), name)
	}
	return b.String()
}

// rwx is ls(1)'s form of permissions.
func rwx(m fs.FileMode) string {
	s := []byte(m.Perm().String()[1:])
	for _, b := range []struct {
		bit         fs.FileMode
		at          int
		with, alone byte
	}{{fs.ModeSetuid, 2, 's', 'S'}, {fs.ModeSetgid, 5, 's', 'S'}, {fs.ModeSticky, 8, 't', 'T'}} {
		if m&b.bit == 0 {
			continue
		}
		if s[b.at] == 'x' {
			s[b.at] = b.with
		} else {
			s[b.at] = b.alone
		}
	}
	return string(s)
}

func nodeSums(t *testing.T, nodes []*tree.Node) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for _, n := range nodes {
		if n.Content == nil {
			continue
		}
		r, err := n.Content.Open()
		must(t, err)
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			t.Errorf("/%s: %v", n.Path, err)
		}
		r.Close()
		sums[n.Path] = hex.EncodeToString(h.Sum(nil))
		if sums[n.Path] != n.Content.SHA256() {
			t.Errorf("/%s: SHA256() is %s, content has %s", n.Path, n.Content.SHA256(), sums[n.Path])
		}
	}
	return sums
}

// hostSums hashes the unpacked regular files that are not hard links here.
func hostSums(t *testing.T, root string, nodes []*tree.Node) map[string]string {
	t.Helper()
	links := map[string]bool{}
	for _, n := range nodes {
		links[n.Path] = n.IsHardLink()
	}
	sums := map[string]string{}
	must(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, p)
		if err == nil && d.Type().IsRegular() && !links[filepath.ToSlash(rel)] {
			var b []byte
			b, err = os.ReadFile(p)
			sums[filepath.ToSlash(rel)] = hexSum(sha256.Sum256(b))
		}
		return err
	}))
	return sums
}
