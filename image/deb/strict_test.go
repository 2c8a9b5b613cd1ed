package deb

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/progress"
)

// TestRefusals holds what must not get past the reader, and the words that
// tell why.
func TestRefusals(t *testing.T) {
	binary := arMember{"debian-binary", "2.0\n"}
	control := arMember{"control.tar", tarball(file("./control", testControl))}
	data := arMember{"data.tar", tarball(dir("./"))}
	pax := tarEntry{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"a": "b"}}}
	withControl := func(entries ...tarEntry) []byte {
		return archive(binary, arMember{"control.tar", tarball(entries...)}, data)
	}
	uid := file("./f", "")
	uid.Uid = 1<<32 - 1
	for name, c := range map[string]struct {
		deb  []byte
		want string
	}{
		"empty file":              {nil, "no ar archive"},
		"not ar":                  {[]byte("PK\x03\x04 something else"), "no ar archive"},
		"no members":              {archive(), "debian-binary, control.tar and data.tar expected"},
		"no data":                 {archive(binary, control), "control.tar and data.tar expected"},
		"wrong order":             {archive(binary, data, control), "member data.tar where control.tar"},
		"first member":            {archive(control, data, binary), "first member is control.tar"},
		"format 3":                {archive(arMember{"debian-binary", "3.0\n"}, control, data), `format version "3.0"`},
		"unknown member":          {archive(binary, arMember{"extra", ""}, control, data), "member extra where control.tar"},
		"BSD long name":           {archive(binary, arMember{"#1/20", "control.tar"}, data), "bad member name"},
		"unknown compression":     {archive(binary, control, arMember{"data.tar.lzma", ""}), `data.tar.lzma: compression ".lzma"`},
		"not gzip":                {archive(binary, control, arMember{"data.tar.gz", "hello, not gzip"}), "data.tar.gz: gzip: invalid header"},
		"not xz":                  {archive(binary, control, arMember{"data.tar.xz", "hello, not xz either"}), "data.tar.xz: xz: file format not recognized"},
		"not zstd":                {archive(binary, control, arMember{"data.tar.zst", "hello, not zstd"}), "data.tar.zst: "},
		"not tar":                 {archive(binary, control, arMember{"data.tar", strings.Repeat("x", 512)}), "data.tar: archive/tar: invalid tar header"},
		"hidden data":             {archive(binary, control, arMember{"data.tar", tarball() + "hidden"}), "data after the end"},
		"no control":              {withControl(file("./postinst", "")), "no control file"},
		"control twice":           {withControl(file("./control", testControl), file("control", "")), "control occurs twice"},
		"control is a link":       {withControl(link("./control", "/etc/passwd")), "not a plain file"},
		"control in directory":    {withControl(file("./a/control", testControl)), "not a plain file"},
		"control without version": {withControl(file("./control", "Package: hello\nArchitecture: all\n")), "no field Version"},
		"control field twice":     {withControl(file("./control", testControl+"version: 3\n")), "field version occurs twice"},
		"package name":            {withControl(file("./control", "Package: ../x\nVersion: 1\nArchitecture: all\n")), `bad Package "../x"`},
		"control too big":         {withControl(file("./control", strings.Repeat("x", 65<<10))), "more than 65536 bytes"},
		"absolute path":           {debOf(file("/etc/passwd", "")), `absolute path "/etc/passwd"`},
		"parent path":             {debOf(file("./../etc/passwd", "")), "not clean"},
		"parent inside":           {debOf(dir("./a/"), file("./a/../b", "")), "not clean"},
		"double slash":            {debOf(file("./a//b", "")), "not clean"},
		"dot inside":              {debOf(file("././a", "")), "not clean"},
		"not UTF-8":               {debOf(file("./\xff", "")), "not clean"},
		"root is a file":          {debOf(link("./", "/etc")), "the root is not a directory"},
		"path twice":              {debOf(file("./a", "1"), file("a", "2")), "/a occurs twice"},
		"directory twice":         {debOf(dir("./a/"), dir("./a/")), "/a occurs twice"},
		"below a link":            {debOf(link("./a", "/etc"), file("./a/passwd", "")), "/a/passwd lies below /a, which is not a directory"},
		"deep below a link":       {debOf(link("./a", "/etc"), file("./a/b/c", "")), "lies below /a"},
		"below a file":            {debOf(file("./a", ""), dir("./a/b/")), "lies below /a"},
		"hard link outwards":      {debOf(hard("./a", "/etc/passwd")), "hard link: absolute path"},
		"hard link to nothing":    {debOf(hard("./a", "./b")), "not an earlier file"},
		"hard link to later":      {debOf(hard("./a", "./b"), file("./b", "")), "not an earlier file"},
		"hard link to itself":     {debOf(hard("./a", "./a")), "not an earlier file"},
		"hard link to directory":  {debOf(dir("./d/"), hard("./a", "./d")), "not an earlier file"},
		"hard link to link":       {debOf(link("./l", "x"), hard("./a", "./l")), "not an earlier file"},
		"character device":        {debOf(head(tar.TypeChar, "./null", "", 0o666)), "device nodes do not belong"},
		"block device":            {debOf(head(tar.TypeBlock, "./sda", "", 0o666)), "device nodes do not belong"},
		"FIFO":                    {debOf(head(tar.TypeFifo, "./fifo", "", 0o666)), "FIFOs do not belong"},
		"unknown type":            {debOf(head('Z', "./z", "", 0o666)), "type 'Z' is not supported"},
		"global PAX header":       {debOf(pax), "type 'g' is not supported"},
		"empty link":              {debOf(link("./l", "")), "bad symbolic link"},
		"owner":                   {debOf(uid), "out of range"},
		"too much data":           {debOf(file("./a", strings.Repeat("x", 600<<10)), file("./b", strings.Repeat("x", 600<<10))), "unpacks to more than"},
		"too many entries":        {debOf(manyEntries()...), "more than 1000 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, err := unpackBytes(c.deb)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func manyEntries() []tarEntry {
	var entries []tarEntry
	for i := range 1001 {
		entries = append(entries, dir("./"+string(rune('a'+i%26))+strings.Repeat("x", i/26)))
	}
	return entries
}

// TestErrorNamesFileAndMember checks what a user gets to read.
func TestErrorNamesFileAndMember(t *testing.T) {
	c := openCache(t)
	deb := download(t, c, writeDeb(t, debOf(head(tar.TypeFifo, "./run/fifo", "", 0o644))))
	_, err := Decode(t.Context(), c, deb, progress.Discard)
	if want := deb.Path() + `: data.tar: entry "./run/fifo": FIFOs do not belong in packages`; err == nil || err.Error() != want {
		t.Errorf("error\n %v, want\n %s", err, want)
	}
}

// TestTruncated cuts packages at every byte.
func TestTruncated(t *testing.T) {
	for _, z := range []string{"xz", "zstd", "gzip"} {
		deb := builtDeb(t, z)
		for n := range deb {
			if _, _, _, err := unpackBytes(deb[:n]); err == nil && n != len(deb)-1 {
				t.Errorf("%s: cut at %d of %d: no error", z, n, len(deb))
			}
		}
	}
}

// TestFlipped damages packages byte by byte: whatever is still accepted must
// decode to the same. ar headers have unused fields, and gzip has a time.
func TestFlipped(t *testing.T) {
	for _, z := range []string{"xz", "zstd", "gzip"} {
		deb := builtDeb(t, z)
		_, _, want, err := unpackBytes(deb)
		if err != nil {
			t.Fatal(err)
		}
		for range 800 {
			bad := bytes.Clone(deb)
			bad[rand.IntN(len(bad))] ^= byte(1 + rand.IntN(255))
			_, _, got, err := unpackBytes(bad)
			if err == nil && !bytes.Equal(got, want) && z != "zstd" {
				t.Errorf("%s: other contents without an error", z)
			}
		}
	}
}

// builtDeb is a small package made by dpkg-deb.
func builtDeb(t *testing.T, z string) []byte {
	t.Helper()
	root := t.TempDir()
	for name, data := range map[string]string{
		"DEBIAN/control": testControl + "Maintainer: nobody <nobody@example.org>\n",
		"usr/bin/hello":  strings.Repeat("hello world ", 500),
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, name), []byte(data), 0o644))
	}
	path := filepath.Join(t.TempDir(), "built.deb")
	run(t, nil, "dpkg-deb", "--root-owner-group", "-Z"+z, "-b", root, path)
	deb, err := os.ReadFile(path)
	must(t, err)
	return deb
}

// TestCancelled ends decoding with the context and leaves nothing behind.
func TestCancelled(t *testing.T) {
	c := openCache(t)
	path := writeDeb(t, builtDeb(t, "xz"))
	deb := download(t, c, path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Decode(ctx, c, deb, progress.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	decodeFile(t, c, path)
}
