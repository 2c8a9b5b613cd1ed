package confdir

import (
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

func TestFilesHideEachOther(t *testing.T) {
	tr := tree.New()
	for p, text := range map[string]string{"usr/lib/x.d/b.conf": "vendor", "etc/x.d/b.conf": "admin", "usr/lib/x.d/a.conf": "first",
		"usr/lib/x.d/c.conf": "hidden", "usr/lib/x.d/README": "no configuration"} {
		put(t, tr, &tree.Node{Path: p, Mode: 0o644, Content: tree.String(text)})
	}
	put(t, tr, &tree.Node{Path: "etc/x.d/c.conf", Mode: fs.ModeSymlink | 0o777, Link: "/dev/null"})
	got, err := Read(tr, "x.d", ".conf")
	want := []File{{"usr/lib/x.d/a.conf", "first"}, {"etc/x.d/b.conf", "admin"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func put(t *testing.T, tr *tree.Tree, n *tree.Node) {
	t.Helper()
	n.Source = "test"
	for i, c := range n.Path {
		if c == '/' {
			if err := tr.Add(&tree.Node{Path: n.Path[:i], Mode: fs.ModeDir | 0o755, Source: "test"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tr.Add(n); err != nil {
		t.Fatal(err)
	}
}

func TestQuotesKeepBlanksTogether(t *testing.T) {
	got, rest, err := Fields(`u sshd "a b" 'c' d\ e more text`, 5)
	if diff := cmp.Diff([]string{"u", "sshd", "a b", "c", "d e"}, got); err != nil || diff != "" || rest != "more text" {
		t.Error(err, diff, rest)
	}
	if _, _, err := Fields(`"open`, 2); err == nil {
		t.Error("an open quote is accepted")
	}
}
