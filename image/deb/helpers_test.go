package deb

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// arMember and tarEntry describe packages in tests.
type arMember struct{ name, data string }

type tarEntry struct {
	tar.Header
	data string
}

// dir, file, link and so on are entries owned by root with a fixed time.
func dir(name string) tarEntry      { return head(tar.TypeDir, name, "", 0o755) }
func link(name, to string) tarEntry { return head(tar.TypeSymlink, name, to, 0o777) }
func hard(name, to string) tarEntry { return head(tar.TypeLink, name, to, 0o644) }
func file(name, data string) tarEntry {
	e := head(tar.TypeReg, name, "", 0o644)
	e.Size, e.data = int64(len(data)), data
	return e
}

func head(kind byte, name, to string, mode int64) tarEntry {
	return tarEntry{Header: tar.Header{Typeflag: kind, Name: name, Linkname: to, Mode: mode}}
}

func tarball(entries ...tarEntry) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			panic(err)
		}
		io.WriteString(w, e.data)
	}
	w.Close()
	return b.String()
}

func archive(members ...arMember) []byte {
	b := []byte(arMagic)
	for _, m := range members {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n%s", m.name, 0, 0, 0, 0o100644, len(m.data), m.data)
		if len(m.data)%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}

const testControl = "Package: hello\nVersion: 2.10-5\nArchitecture: amd64\nDescription: greets\n long text\n"

// debOf is a package of uncompressed members.
func debOf(data ...tarEntry) []byte {
	return archive(
		arMember{"debian-binary", "2.0\n"},
		arMember{"control.tar", tarball(file("./control", testControl))},
		arMember{"data.tar", tarball(data...)})
}

// unpackBytes decodes a package in memory.
func unpackBytes(deb []byte) (*Package, []entry, []byte, error) {
	var out bytes.Buffer
	err := unpack(context.Background(), &out, bytes.NewReader(deb), int64(len(deb)), testLimits, func(int64) {})
	if err != nil {
		return nil, nil, nil, err
	}
	index, contents, err := readIndex(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		return nil, nil, nil, err
	}
	p, entries, err := decodeIndex(index, contents)
	return p, entries, out.Bytes()[:contents], err
}

var testLimits = limits{data: 1 << 20, control: 64 << 10, entries: 1000}

func openCache(t testing.TB) *fetch.Cache {
	t.Helper()
	c, err := fetch.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// decodeFile decodes the package at path through a cache.
func decodeFile(t testing.TB, c *fetch.Cache, path string) *Package {
	t.Helper()
	p, err := Decode(t.Context(), c, download(t, c, path), progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// download brings a file into a cache.
func download(t testing.TB, c *fetch.Cache, path string) *fetch.File {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	f, err := c.Get(t.Context(), fetch.Request{Name: path, URLs: []string{"file://" + path}, SHA256: hexSum(sum)}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func writeDeb(t testing.TB, deb []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hello.deb")
	if err := os.WriteFile(path, deb, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// run returns the output of a program that make deps installs.
func run(t testing.TB, stdin io.Reader, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is missing: run make deps", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	cmd.Stdin = stdin
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}
