package squashfs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

func openFile(tb testing.TB, name string) *Reader {
	tb.Helper()
	f, err := os.Open(name)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	r, err := Open(f)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// judgeReader opens the image with the reader of this package.
func judgeReader(t *testing.T, name string, want *tree.Tree) {
	t.Helper()
	got, err := openFile(t, name).Tree()
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "our own reader", want, got)
}

// judgeListing compares unsquashfs's listing, which any user may make. Runs of
// white space count as one, as its columns do not always line up.
func judgeListing(t *testing.T, name string, want *tree.Tree) {
	t.Helper()
	var lines []string
	for n := range want.Walk() {
		lines = append(lines, listLine(want, n))
	}
	expected := strings.Fields(strings.Join(lines, "\n"))
	// Names may hold line ends, so the listing is compared as a bag of words.
	out := run(t, "unsquashfs", "-d", "ROOT", "-lln", name)
	got := strings.Fields(dirSizes.ReplaceAllString(out, "$1 "))
	slices.Sort(expected)
	slices.Sort(got)
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("unsquashfs -lln (-want +got):\n%.4000s", diff)
	}
}

// listLine returns what unsquashfs -lln prints for n.
func listLine(t *tree.Tree, n *tree.Node) string {
	size := fmt.Sprint(n.Size())
	if n.IsHardLink() {
		c := target(t, n).Clone()
		c.Path = n.Path
		size, n = fmt.Sprint(c.Size()), c
	}
	switch {
	case n.Mode.IsDir():
		size = ""
	case n.Mode&fs.ModeDevice != 0:
		size = fmt.Sprintf("%d, %d", n.Dev.Major, n.Dev.Minor)
		if n.Dev.Minor > 99 { // "%3d,%3d" has no space then
			size = fmt.Sprintf("%d,%d", n.Dev.Major, n.Dev.Minor)
		}
	case n.Mode&fs.ModeSymlink != 0:
		size = fmt.Sprint(len(n.Link))
	}
	line := fmt.Sprintf("%s %d/%d %s %s %s", lsMode(n.Mode), n.UID, n.GID, size,
		n.ModTime.UTC().Format("2006-01-02 15:04"), path.Join("ROOT", n.Path))
	if n.Mode&fs.ModeSymlink != 0 {
		line += " -> " + n.Link
	}
	return line
}

// dirSizes finds the sizes of directories, which are an affair of the layout.
var dirSizes = regexp.MustCompile(`(?m)^(d\S{9} +\d+/\d+) +\d+ `)

// lsMode returns a mode as ls prints it.
func lsMode(m fs.FileMode) string {
	types := map[fs.FileMode]byte{
		0: '-', fs.ModeDir: 'd', fs.ModeSymlink: 'l', fs.ModeNamedPipe: 'p', fs.ModeSocket: 's',
		fs.ModeDevice: 'b', fs.ModeDevice | fs.ModeCharDevice: 'c',
	}
	b := []byte(m.Perm().String())
	b[0] = types[m.Type()]
	special := func(bit fs.FileMode, at int, with, without byte) {
		if m&bit == 0 {
			return
		}
		if b[at] == 'x' {
			b[at] = with
		} else {
			b[at] = without
		}
	}
	special(fs.ModeSetuid, 3, 's', 'S')
	special(fs.ModeSetgid, 6, 's', 'S')
	special(fs.ModeSticky, 9, 't', 'T')
	return string(b)
}
