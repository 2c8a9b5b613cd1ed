package boot

import (
	"bytes"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

func treeOf(t *testing.T, nodes ...*tree.Node) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for _, n := range nodes {
		if n.ModTime.IsZero() {
			n.ModTime = epoch
		}
		if err := tr.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// TestCpioListsTheArchive compares cpio's verbose list with the tree.
func TestCpioListsTheArchive(t *testing.T) {
	var b bytes.Buffer
	err := writeCpio(&b, treeOf(t,
		&tree.Node{Path: "dev", Mode: fs.ModeDir | 0o755},
		&tree.Node{Path: "dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Dev: tree.Dev{Major: 5, Minor: 1}},
		&tree.Node{Path: "empty", Mode: 0o644, Content: tree.String("")},
		&tree.Node{Path: "twö two", Mode: 0o755, UID: 7, GID: 42, Content: tree.String("22222")}))
	if err != nil || b.Len()%cpioUnit != 0 {
		t.Fatalf("%d bytes, %v", b.Len(), err)
	}
	var got []string
	for line := range strings.Lines(string(run(t, b.Bytes(), "cpio", "-itv", "--numeric-uid-gid", "--quiet"))) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"drwxr-xr-x 2 0 0 0 Nov 22 2025 dev", "crw------- 1 0 0 5, 1 Nov 22 2025 dev/console",
		"-rw-r--r-- 1 0 0 0 Nov 22 2025 empty", "-rwxr-xr-x 1 7 42 5 Nov 22 2025 twö two",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestTheKernelCanUnpackIt checks what the kernel demands: one frame, a window
// of at most 128 MiB, and equal bytes with any number of processors.
func TestTheKernelCanUnpackIt(t *testing.T) {
	tr := treeOf(t, &tree.Node{Path: "big", Mode: 0o644, Content: tree.String(strings.Repeat("0123456789abcdef", 1<<20))})
	var first, second bytes.Buffer
	if err := writeZstd(&first, tr); err != nil {
		t.Fatal(err)
	}
	out := string(run(t, nil, "zstd", "-lv", tempFile(t, first.Bytes())))
	for _, want := range []string{"# Zstandard Frames: 1", "Window Size: 8.00 MiB", "Check: XXH64"} {
		if !strings.Contains(out, want) {
			t.Errorf("zstd -lv does not say %q:\n%s", want, out)
		}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if err := writeZstd(&second, tr); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("one processor makes other bytes (%v)", err)
	}
}

func TestAnInitramfsRefusesWhatItWouldLose(t *testing.T) {
	for name, n := range map[string]*tree.Node{
		"FIFO":       {Mode: fs.ModeNamedPipe},
		"set-id":     {Mode: fs.ModeSetuid, Content: tree.String("")},
		"xattr":      {Content: tree.String(""), Xattrs: map[string][]byte{"security.capability": {1}}},
		"hard link":  {Link: "y"},
		"time":       {Content: tree.String(""), ModTime: time.Unix(-5, 0)},
		"wrong size": {Content: longContent{tree.String("")}},
	} {
		n.Path = "x"
		if err := writeCpio(&bytes.Buffer{}, treeOf(t, n)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

type longContent struct{ tree.Content }

func (longContent) Size() int64 { return 10 }
