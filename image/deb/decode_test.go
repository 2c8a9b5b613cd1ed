package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/progress"
)

func TestDecode(t *testing.T) {
	capable := file("./usr/bin/ping", "ping")
	capable.PAXRecords = map[string]string{xattrPrefix + "security.capability": "\x01\x00\x00\x02\x00 \x00\x00"}
	setuid := file("./usr/bin/su", "su")
	setuid.Mode, setuid.Gid = 0o104755, 42
	long := file("./usr/"+strings.Repeat("n", 200), "long")
	long.Format = tar.FormatGNU
	deb := archive(
		arMember{"debian-binary", "2.1\nmore\n"},
		arMember{"_ignored", "x"},
		arMember{"control.tar", tarball(
			dir("./"), file("./control", testControl), file("./postinst", "#!/bin/sh\n"),
			file("./conffiles", "/etc/a\nremove-on-upgrade /etc/b\n/etc/c\n"))},
		arMember{"data.tar", tarball(
			dir("./"), dir("./usr/"), dir("./usr/bin/"), setuid, capable, long,
			hard("./usr/bin/zz", "./usr/bin/su"), hard("./usr/bin/zzz", "usr/bin/zz"),
			link("./bin", "usr/bin"), file("./no/parent", ""))},
		arMember{"_gpgorigin", "signature"})
	p := decodeFile(t, openCache(t), writeDeb(t, deb))

	var got strings.Builder
	for _, n := range p.Nodes {
		fmt.Fprintf(&got, "%s %v %d:%d", n.Path, n.Mode, n.UID, n.GID)
		if n.Link != "" {
			fmt.Fprintf(&got, " -> %s", n.Link)
		}
		if n.Content != nil {
			fmt.Fprintf(&got, " %d %.8s", n.Size(), n.Content.SHA256())
		}
		if len(n.Xattrs) > 0 {
			fmt.Fprintf(&got, " %q", n.Xattrs)
		}
		fmt.Fprintln(&got)
	}
	want := `. drwxr-xr-x 0:0
usr drwxr-xr-x 0:0
usr/bin drwxr-xr-x 0:0
usr/bin/su urwxr-xr-x 0:42 2 0a64ce10
usr/bin/ping -rw-r--r-- 0:0 4 758d61f2 map["security.capability":"\x01\x00\x00\x02\x00 \x00\x00"]
usr/` + strings.Repeat("n", 200) + ` -rw-r--r-- 0:0 4 fc66f021
usr/bin/zz urwxr-xr-x 0:42 -> usr/bin/su
usr/bin/zzz urwxr-xr-x 0:42 -> usr/bin/su
bin Lrwxrwxrwx 0:0 -> usr/bin
no/parent -rw-r--r-- 0:0 0 e3b0c442
`
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Errorf("nodes (-want +got):\n%s", d)
	}
	if p.Name != "hello" || p.Version != "2.10-5" || p.Architecture != "amd64" || p.Control != testControl {
		t.Errorf("package is %q %q %q %q", p.Name, p.Version, p.Architecture, p.Control)
	}
	if p.ControlFiles["postinst"] != "#!/bin/sh\n" || !strings.Contains(p.ControlFiles["conffiles"], "/etc/a\n") {
		t.Errorf("control files are %q", p.ControlFiles)
	}
	if p.Nodes[0].Source != "hello 2.10-5" {
		t.Errorf("source %q", p.Nodes[0].Source)
	}
}

// derivedFile is the only derived package of a cache.
func derivedFile(t *testing.T, c *fetch.Cache, path string) string {
	t.Helper()
	f, err := c.Derive(t.Context(), Kind, download(t, c, path).SHA256()+formatKey, func(io.Writer) error { return errors.New("absent") })
	must(t, err)
	return f.Path()
}

func flip(t *testing.T, path string, off int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	if off < 0 {
		off += int64(len(b))
	}
	b[off] ^= 1
	must(t, os.WriteFile(path, b, 0o644))
}

// TestDamagedContent checks that a reader never gets a whole file of wrong
// bytes, even when it reads exactly Size bytes and stops.
func TestDamagedContent(t *testing.T) {
	c := openCache(t)
	path := writeDeb(t, debOf(file("./a", "content"), file("./b", "other")))
	p := decodeFile(t, c, path)
	flip(t, derivedFile(t, c, path), 3)
	for _, n := range p.Nodes {
		r, err := n.Content.Open()
		must(t, err)
		_, err = io.ReadFull(r, make([]byte, n.Size()))
		_, again := io.ReadAll(r)
		r.Close()
		de, damaged := errors.AsType[*fetch.DamagedError](err)
		if damaged != (n.Path == "a") || damaged && (de.Kind != Kind || again == nil) {
			t.Errorf("/%s: %v, then %v", n.Path, err, again)
		}
	}
}

// TestDamagedIndex checks that nothing is taken from an index that changed, and
// that dropping it mends it.
func TestDamagedIndex(t *testing.T) {
	path := writeDeb(t, debOf(file("./a", "content")))
	for _, off := range []int64{8, -1, -20, -60} {
		c := openCache(t)
		decodeFile(t, c, path)
		flip(t, derivedFile(t, c, path), off)
		_, err := Decode(t.Context(), c, download(t, c, path), progress.Discard)
		damaged, ok := errors.AsType[*fetch.DamagedError](err)
		if !ok {
			t.Fatalf("byte %d: %v", off, err)
		}
		must(t, c.Drop(damaged.Kind, damaged.Key))
		p := decodeFile(t, c, path)
		if b, err := os.ReadFile(derivedFile(t, c, path)); err != nil || p.Name != "hello" || string(b[:7]) != "content" {
			t.Errorf("byte %d: %v", off, err)
		}
	}
}

// TestDamagedDownload checks that nothing is parsed that is not what was
// signed.
func TestDamagedDownload(t *testing.T) {
	c := openCache(t)
	deb := download(t, c, writeDeb(t, debOf(file("./a", "content"))))
	flip(t, deb.Path(), deb.Size()/2)
	_, err := Decode(t.Context(), c, deb, progress.Discard)
	damaged, ok := errors.AsType[*fetch.DamagedError](err)
	if !ok || damaged.Kind != fetch.Downloads || damaged.Key != deb.SHA256() {
		t.Errorf("error = %v", err)
	}
}

// TestVanished checks that a cache pruned in the middle of a build counts as
// damaged: starting again mends it.
func TestVanished(t *testing.T) {
	c := openCache(t)
	path := writeDeb(t, debOf(file("./a", "content")))
	p := decodeFile(t, c, path)
	must(t, os.Remove(derivedFile(t, c, path)))
	_, err := p.Nodes[0].Content.Open()
	if _, ok := errors.AsType[*fetch.DamagedError](err); !ok {
		t.Errorf("error %v, want damaged", err)
	}
}
