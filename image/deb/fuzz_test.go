package deb

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

func FuzzAr(f *testing.F) {
	f.Add(debOf(file("./a", "x")))
	f.Add(archive(arMember{"odd", "x"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		members, err := readMembers(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, m := range members {
			if m.off < 0 || m.size < 0 || m.off+m.size > int64(len(b)) {
				t.Errorf("member %+v lies outside of %d bytes", m, len(b))
			}
		}
		findParts(bytes.NewReader(b), members)
	})
}

// FuzzData feeds tar archives: whatever is accepted must be a sane tree.
func FuzzData(f *testing.F) {
	f.Add([]byte(tarball(dir("./"), dir("./a/"), file("./a/f", "data"), link("./l", "a/f"), hard("./h", "./a/f"))))
	x := file("./x", "x")
	x.PAXRecords = map[string]string{xattrPrefix + "user.a": "b"}
	f.Add([]byte(tarball(x, file("./"+strings.Repeat("n", 150), ""))))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &store{w: io.Discard, buf: make([]byte, 4096)}
		d := &dataReader{limits: testLimits, store: s.add}
		entries, err := d.read(bytes.NewReader(b))
		if err != nil {
			return
		}
		checkEntries(t, entries)
		if s.off > testLimits.data {
			t.Errorf("%d bytes stored", s.off)
		}
	})
}

func checkEntries(t *testing.T, entries []entry) {
	t.Helper()
	seen := map[string]*tree.Node{}
	for _, e := range entries {
		n := e.node
		if !fs.ValidPath(n.Path) || seen[n.Path] != nil {
			t.Errorf("path %q", n.Path)
		}
		if n.IsHardLink() && (seen[n.Link] == nil || seen[n.Link].IsHardLink()) {
			t.Errorf("%q links to %q", n.Path, n.Link)
		}
		if (e.file != nil) != (n.Mode.IsRegular() && !n.IsHardLink()) {
			t.Errorf("%q: mode %v, content %v", n.Path, n.Mode, e.file)
		}
		seen[n.Path] = n
	}
}

// FuzzDeb feeds whole packages: whatever is accepted must survive the index.
func FuzzDeb(f *testing.F) {
	f.Add(debOf(dir("./"), file("./a", "x"), hard("./b", "./a")))
	f.Add(archive(arMember{"debian-binary", "2.0\n"}, arMember{"control.tar.gz", ""}, arMember{"data.tar.zst", ""}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, entries, _, err := unpackBytes(b)
		if err != nil {
			return
		}
		checkEntries(t, entries)
		again, _, err := decodeIndex(appendIndex(nil, p, entries), 1<<40)
		if err != nil || cmp.Diff(p, again) != "" {
			t.Errorf("index does not survive: %v", err)
		}
	})
}

func FuzzIndex(f *testing.F) {
	_, entries, _, err := unpackBytes(debOf(dir("./"), file("./a", "x"), hard("./b", "./a"), link("./c", "d")))
	if err != nil {
		f.Fatal(err)
	}
	p := &Package{Name: "hello", ControlFiles: map[string]string{"postinst": "x"}}
	f.Add(appendIndex(nil, p, entries))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, entries, err := decodeIndex(b, 100)
		if err != nil {
			return
		}
		for _, e := range entries {
			if x := e.file; x != nil && (x.off < 0 || x.size < 0 || x.off+x.size > 100) {
				t.Errorf("extent %+v outside", x)
			}
		}
		readIndex(bytes.NewReader(b), int64(len(b)))
	})
}

func FuzzXZ(f *testing.F) {
	f.Add(xzCompress(f, testData(3000), "-T2", "--block-size=1000"))
	f.Add(xzCompress(f, testData(100)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newXZReader(context.Background(), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		defer r.Close()
		io.Copy(io.Discard, io.LimitReader(r, 1<<20))
	})
}
