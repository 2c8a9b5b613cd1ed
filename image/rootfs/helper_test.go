package rootfs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/tree"
)

var testEpoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// nodesOf reads a tree as text, one node a line: "a/b/ [MODE UID GID]" is a
// directory, "a -> b" a link, "a => b" a hard link, and "a [MODE UID GID]: text"
// a file, whose text has \n and \t. Missing parents are made.
func nodesOf(t testing.TB, text string) []*tree.Node {
	t.Helper()
	var nodes []*tree.Node
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		n := &tree.Node{ModTime: testEpoch.Add(-time.Hour), Source: "test"}
		if from, to, ok := strings.Cut(line, " -> "); ok {
			n.Path, n.Mode, n.Link = from, fs.ModeSymlink|0o777, to
		} else if from, to, ok := strings.Cut(line, " => "); ok {
			n.Path, n.Mode, n.Link = from, 0o644, to
		} else if head, content, ok := strings.Cut(line, ":"); ok {
			stat(t, n, head, 0o644)
			n.Content = tree.String(strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(strings.TrimPrefix(content, " ")))
		} else {
			stat(t, n, line, 0o755)
			n.Path = strings.TrimSuffix(n.Path, "/")
			n.Mode |= fs.ModeDir
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// stat reads "PATH [MODE UID GID]".
func stat(t testing.TB, n *tree.Node, s string, perm fs.FileMode) {
	t.Helper()
	f := strings.Fields(s)
	n.Path, n.Mode = f[0], perm
	if len(f) == 1 {
		return
	}
	var ids [3]uint64
	for i := range ids {
		v, err := strconv.ParseUint(f[i+1], []int{8, 10, 10}[i], 32)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = v
	}
	n.Mode, n.UID, n.GID = goPerm(uint32(ids[0])), uint32(ids[1]), uint32(ids[2])
}

func treeOf(t testing.TB, text string) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for _, n := range nodesOf(t, text) {
		if err := tr.MkdirAll(parent(n.Path), testEpoch, "test"); err != nil {
			t.Fatal(err)
		}
		if err := tr.Put(n); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// packageOf makes a package of the files in text.
func packageOf(t testing.TB, name, text string) *deb.Package {
	t.Helper()
	p := &deb.Package{
		Name: name, Version: "1", Architecture: "amd64",
		Control:      "Package: " + name + "\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody\nDescription: a test\n more",
		ControlFiles: map[string]string{},
		Nodes:        nodesOf(t, text),
	}
	for _, n := range p.Nodes {
		n.Source = name + " 1"
	}
	return p
}

// stateOf is a state over the files in text, in which packages are installed.
func stateOf(t testing.TB, text string, packages ...string) *state {
	t.Helper()
	in := Input{Arch: "amd64", Epoch: testEpoch}
	for _, name := range packages {
		in.Packages = append(in.Packages, packageOf(t, name, ""))
	}
	return newState(treeOf(t, text), in)
}

func overlayOf(t testing.TB, name, text string) *overlay.Overlay {
	t.Helper()
	o := &overlay.Overlay{Name: name, Files: tree.New()}
	for _, n := range nodesOf(t, text) {
		n.Source, n.ModTime = "overlay "+name, time.Time{}
		if err := o.Files.MkdirAll(parent(n.Path), time.Time{}, n.Source); err != nil {
			t.Fatal(err)
		}
		if err := o.Files.Put(n); err != nil {
			t.Fatal(err)
		}
		if n.Mode.IsDir() {
			o.Dirs = append(o.Dirs, n.Path)
		}
	}
	return o
}

// dump describes the nodes below the prefixes, but for directories that are
// 0755 and root's.
func dump(tr *tree.Tree, prefixes ...string) string {
	var b strings.Builder
	for n := range tr.Walk() {
		if !below(n.Path, prefixes) || n.Mode == fs.ModeDir|0o755 && n.UID == 0 && n.GID == 0 {
			continue
		}
		switch {
		case n.IsHardLink():
			fmt.Fprintf(&b, "%s => %s\n", n.Path, n.Link)
		case n.Link != "":
			fmt.Fprintf(&b, "%s -> %s\n", n.Path, n.Link)
		case n.Mode.IsDir():
			fmt.Fprintf(&b, "%s/%s\n", n.Path, dumpStat(n, 0o755))
		default:
			text, _ := tr.ReadAll(n.Path)
			line := n.Path + dumpStat(n, 0o644) + ": " + strings.ReplaceAll(string(text), "\n", `\n`)
			b.WriteString(strings.TrimSpace(line) + "\n")
		}
	}
	return b.String()
}

func dumpStat(n *tree.Node, usual uint32) string {
	if unixPerm(n.Mode) == usual && n.UID == 0 && n.GID == 0 {
		return ""
	}
	return fmt.Sprintf(" %04o %d %d", unixPerm(n.Mode), n.UID, n.GID)
}

func below(p string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if p == prefix || strings.HasPrefix(p, prefix+"/") {
			return true
		}
	}
	return len(prefixes) == 0
}

// wantTree compares the tree below the prefixes with a text in dump's form.
func wantTree(t testing.TB, tr *tree.Tree, want string, prefixes ...string) {
	t.Helper()
	var trimmed strings.Builder
	for line := range strings.SplitSeq(want, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			trimmed.WriteString(line + "\n")
		}
	}
	if diff := cmp.Diff(trimmed.String(), dump(tr, prefixes...)); diff != "" {
		t.Errorf("tree differs (-want +got):\n%s", diff)
	}
}

// wantErr expects an error with every one of the words.
func wantErr(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one about %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func noErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// materialise writes a tree to a directory, without owners.
func materialise(t testing.TB, from *tree.Tree, dir string) {
	t.Helper()
	for n := range from.Walk() {
		p := filepath.Join(dir, filepath.FromSlash(n.Path))
		if err := writeNode(from, n, dir, p); err != nil {
			t.Fatal(err)
		}
	}
}

func writeNode(from *tree.Tree, n *tree.Node, dir, p string) error {
	switch {
	case n.Mode.IsDir():
		return os.MkdirAll(p, 0o755)
	case n.Mode&fs.ModeSymlink != 0:
		return os.Symlink(n.Link, p)
	case n.IsHardLink():
		return os.Link(filepath.Join(dir, n.Link), p)
	}
	b, err := from.ReadAll(n.Path)
	if err != nil {
		return err
	}
	return os.WriteFile(p, b, 0o644)
}
