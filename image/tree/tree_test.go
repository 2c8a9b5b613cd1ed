package tree_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/tree"
)

func file(p, data string) *tree.Node {
	return &tree.Node{Path: p, Mode: 0o644, Content: tree.String(data), Source: "test"}
}

func dir(p string) *tree.Node {
	return &tree.Node{Path: p, Mode: fs.ModeDir | 0o755, Source: "test"}
}

func link(p, to string) *tree.Node {
	return &tree.Node{Path: p, Mode: fs.ModeSymlink | 0o777, Link: to, Source: "test"}
}

// build makes a tree, failing the test on a conflict.
func build(t *testing.T, nodes ...*tree.Node) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for _, n := range nodes {
		if err := tr.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func paths(tr *tree.Tree) string {
	var out []string
	for n := range tr.Walk() {
		out = append(out, n.Path)
	}
	return strings.Join(out, " ")
}

func TestWalkPutsADirectoryBeforeWhatIsInIt(t *testing.T) {
	tr := build(t, dir("a"), dir("a-b"), file("a/z", ""), file("a-b/c", ""), dir("a/b"), file("a/b/c", ""))
	if got, want := paths(tr), ". a a/b a/b/c a/z a-b a-b/c"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAConflictNamesBothSources(t *testing.T) {
	tr := build(t, file("x", "1"))
	err := tr.Add(&tree.Node{Path: "x", Mode: 0o644, Source: "other 1.0"})
	var conflict *tree.ConflictError
	if !errors.As(err, &conflict) || err.Error() != "/x comes from both test and other 1.0" {
		t.Errorf("got %v", err)
	}
}

func TestRefusesWhatAWriterWouldLose(t *testing.T) {
	tr := build(t, dir("d"), file("f", ""), file("d/x", ""))
	for _, n := range []*tree.Node{file("missing/x", ""), file("f/x", ""), file("../x", ""), file("/x", ""), file("d", "")} {
		if err := tr.Put(n); err == nil {
			t.Errorf("%s was accepted", n.Path)
		}
	}
}

func TestResolveFollowsLinksInsideTheTree(t *testing.T) {
	tr := build(t, dir("usr"), dir("usr/lib"), file("usr/lib/x", "x"), link("lib", "usr/lib"),
		link("abs", "/lib/x"), link("up", "../../../lib/x"), link("loop", "loop"))
	for _, p := range []string{"lib/x", "/lib/x", "abs", "up", "usr/../lib/x"} {
		n, err := tr.Resolve(p)
		if err != nil || n.Path != "usr/lib/x" {
			t.Errorf("%s: got %v, %v", p, n, err)
		}
	}
	if _, err := tr.Resolve("loop"); !errors.Is(err, tree.ErrLoop) {
		t.Errorf("loop: got %v", err)
	}
	if _, err := tr.Resolve("lib/y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lib/y: got %v", err)
	}
	if p, err := tr.RealPath("lib/new"); err != nil || p != "usr/lib/new" {
		t.Errorf("RealPath: got %q, %v", p, err)
	}
}

func TestRemovedFileLivesOnInItsHardLinks(t *testing.T) {
	hard := func(p, to string) *tree.Node { return &tree.Node{Path: p, Mode: 0o644, Link: to, Source: "test"} }
	tr := build(t, file("a", "data"), hard("b", "a"), hard("c", "a"))
	if n := tr.Remove("a"); n != 1 {
		t.Errorf("removed %d", n)
	}
	b, err := tr.ReadAll("c")
	if err != nil || string(b) != "data" || tr.Get("b").IsHardLink() || tr.Get("c").Link != "b" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestMkdirAllAndChildren(t *testing.T) {
	tr := tree.New()
	if err := tr.MkdirAll("a/b/c", time.Unix(1, 0), "test"); err != nil {
		t.Fatal(err)
	}
	if err := tr.Add(file("a/b/x", "")); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range tr.Children("a/b") {
		names = append(names, n.Path)
	}
	if !slices.Equal(names, []string{"a/b/c", "a/b/x"}) {
		t.Errorf("got %v", names)
	}
	if err := tr.MkdirAll("a/b/x/y", time.Time{}, "test"); err == nil {
		t.Error("made a directory below a file")
	}
}

func FuzzPaths(f *testing.F) {
	f.Add("a/b", "a/../b")
	f.Add("/", "a//b")
	f.Fuzz(func(t *testing.T, p, to string) {
		tr := tree.New()
		_ = tr.Add(link("l", to))
		_ = tr.Add(file(p, "x"))
		_, _ = tr.Resolve("l/" + p)
		for n := range tr.Walk() {
			if !fs.ValidPath(n.Path) {
				t.Fatalf("%q got in", n.Path)
			}
		}
	})
}

// hollow is content of holes, as a squashfs of a few bytes may have.
type hollow struct {
	tree.Content
	size int64
}

func (h hollow) Size() int64 { return h.size }

// TestReadAllRefusesWhatMemoryMayNotHold: by the size alone, before a byte is read.
func TestReadAllRefusesWhatMemoryMayNotHold(t *testing.T) {
	tr := build(t, file("small", "text"),
		&tree.Node{Path: "most", Mode: 0o644, Content: hollow{tree.String("read"), 64 << 20}, Source: "test"},
		&tree.Node{Path: "huge", Mode: 0o644, Content: hollow{tree.String("read"), 64<<20 + 1}, Source: "test"})
	for p, want := range map[string]string{"small": "text", "most": "read"} {
		if b, err := tr.ReadAll(p); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", p, b, err)
		}
	}
	if b, err := tr.ReadAll("huge"); err == nil || err.Error() != "/huge: has 67108865 bytes; at most 67108864 are read" {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
