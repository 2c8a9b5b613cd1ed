package cpio

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

var testTime = time.Unix(1700000000, 0).UTC()

// makeTree builds a tree of nodes whose time and source do not matter.
func makeTree(t testing.TB, nodes ...*tree.Node) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for _, n := range nodes {
		n.ModTime, n.Source = testTime, "test"
		if err := tr.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func dir(p string) *tree.Node { return &tree.Node{Path: p, Mode: fs.ModeDir | 0o755} }
func file(p, data string) *tree.Node {
	return &tree.Node{Path: p, Mode: 0o644, Content: tree.String(data)}
}

// fullTree has everything an initramfs can hold.
func fullTree(t testing.TB) *tree.Tree {
	su := file("usr/bin/su", strings.Repeat("su", 5000))
	su.Mode, su.GID = 0o755|fs.ModeSetuid, 42
	return makeTree(t,
		dir("usr"), dir("usr/bin"), dir("dev"), su,
		&tree.Node{Path: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777, UID: 7},
		file("empty", ""), file("usr/one", "1"), file("usr/twö two", "22"), file("usr/three", "333"), file("usr/four", "4444"),
		&tree.Node{Path: "usr/zlink", Mode: 0o755 | fs.ModeSetuid, GID: 42, Link: "usr/bin/su"},
		&tree.Node{Path: "a-link", Mode: 0o755 | fs.ModeSetuid, GID: 42, Link: "usr/bin/su"},
		&tree.Node{Path: "bin", Mode: fs.ModeSymlink | 0o777, Link: "usr/bin"},
		&tree.Node{Path: "dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Dev: tree.Dev{Major: 5, Minor: 1}},
		&tree.Node{Path: "dev/vda", Mode: fs.ModeDevice | 0o660, GID: 6, Dev: tree.Dev{Major: 254, Minor: 16}},
	)
}

func pack(t testing.TB, tr *tree.Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, tr); err != nil {
		t.Fatal(err)
	}
	if b.Len()%unit != 0 {
		t.Errorf("archive of %d bytes is not padded", b.Len())
	}
	return b.Bytes()
}

// listing prints a tree so that equal listings mean equal trees. Of several
// names of one file the first by path stands for all.
func listing(tr *tree.Tree) string {
	first := map[string]string{}
	for n := range tr.Walk() {
		if id := fileOf(n); n.Mode.IsRegular() && first[id] == "" {
			first[id] = n.Path
		}
	}
	var b strings.Builder
	for n := range tr.Walk() {
		if n.Path == "." {
			continue
		}
		fmt.Fprintf(&b, "%s %v %d:%d %d", n.Path, n.Mode, n.UID, n.GID, n.ModTime.Unix())
		switch {
		case n.Mode.IsRegular():
			fmt.Fprintf(&b, " %s %.8s", first[fileOf(n)], tr.Get(fileOf(n)).Content.SHA256())
		case n.Link != "":
			fmt.Fprintf(&b, " -> %s", n.Link)
		case n.Mode&fs.ModeDevice != 0:
			fmt.Fprintf(&b, " %d:%d", n.Dev.Major, n.Dev.Minor)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

func TestRoundTrip(t *testing.T) {
	want := fullTree(t)
	got, err := Read(pack(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(listing(want), listing(got)); d != "" {
		t.Errorf("(-written +read):\n%s", d)
	}
}

// TestJudgeList compares cpio's verbose list with the tree.
func TestJudgeList(t *testing.T) {
	tr := fullTree(t)
	out := run(t, pack(t, tr), "cpio", "-itv", "--numeric-uid-gid", "--quiet")
	var got strings.Builder
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		got.WriteString(strings.Join(f[:4], " "))
		name := f[8:]
		if strings.HasSuffix(f[4], ",") { // a device
			fmt.Fprintf(&got, " %s%s", f[4], f[5])
			name = f[9:]
		} else {
			fmt.Fprintf(&got, " %s", f[4])
		}
		fmt.Fprintf(&got, " %s\n", strings.Join(name, " "))
	}
	want := `-rwsr-xr-x 3 0 42 0 a-link
lrwxrwxrwx 1 0 0 7 bin -> usr/bin
drwxr-xr-x 2 0 0 0 dev
crw------- 1 0 0 5,1 dev/console
brw-rw---- 1 0 6 254,16 dev/vda
-rw-r--r-- 1 0 0 0 empty
drwxrwxrwt 2 7 0 0 tmp
drwxr-xr-x 2 0 0 0 usr
drwxr-xr-x 2 0 0 0 usr/bin
-rwsr-xr-x 3 0 42 0 usr/bin/su
-rw-r--r-- 1 0 0 4 usr/four
-rw-r--r-- 1 0 0 1 usr/one
-rw-r--r-- 1 0 0 3 usr/three
-rw-r--r-- 1 0 0 2 usr/twö two
-rwsr-xr-x 3 0 42 10000 usr/zlink
`
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Errorf("(-want +cpio):\n%s", d)
	}
}

// TestJudgeUnpack has cpio unpack what an ordinary user can unpack.
func TestJudgeUnpack(t *testing.T) {
	tr := fullTree(t)
	tr.Remove("dev/console")
	tr.Remove("dev/vda")
	root := t.TempDir()
	run(t, pack(t, tr), "cpio", "-idm", "--quiet", "--no-absolute-filenames", "-D", root)
	var su os.FileInfo
	for n := range tr.Walk() {
		if n.Path == "." {
			continue
		}
		p := filepath.Join(root, n.Path)
		fi, err := os.Lstat(p)
		if err != nil {
			t.Error(err)
			continue
		}
		if fi.Mode().Type() != n.Mode.Type() || n.Link == "" && fi.Mode().Perm() != n.Mode.Perm() {
			t.Errorf("/%s: mode %v, want %v", n.Path, fi.Mode(), n.Mode)
		}
		if n.Mode&fs.ModeSymlink != 0 {
			if to, _ := os.Readlink(p); to != n.Link {
				t.Errorf("/%s -> %s, want %s", n.Path, to, n.Link)
			}
		}
		if n.Mode.IsRegular() {
			want, _ := tr.ReadAll(n.Path)
			if got, err := os.ReadFile(p); err != nil || !bytes.Equal(got, want) || !fi.ModTime().Equal(testTime) {
				t.Errorf("/%s: %d bytes, %v, %v", n.Path, len(got), fi.ModTime(), err)
			}
		}
		if fileOf(n) == "usr/bin/su" {
			if su != nil && !os.SameFile(su, fi) {
				t.Errorf("/%s is a file of its own", n.Path)
			}
			su = fi
		}
	}
}

// TestJudgeInitramfs has Debian's tool list early microcode before a
// compressed archive.
func TestJudgeInitramfs(t *testing.T) {
	early := pack(t, makeTree(t, dir("kernel"), dir("kernel/x86"), dir("kernel/x86/microcode"), file("kernel/x86/microcode/GenuineIntel.bin", "updates")))
	var b bytes.Buffer
	b.Write(early)
	tr := fullTree(t)
	if err := WriteZstd(&b, tr); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "initrd.img")
	if err := os.WriteFile(image, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(run(t, nil, "lsinitramfs", image)) {
		listed[strings.TrimSpace(line)] = true
	}
	both, err := Read(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for n := range both.Walk() {
		if n.Path != "." && !listed[n.Path] {
			t.Errorf("lsinitramfs does not list %s", n.Path)
		}
		delete(listed, n.Path)
	}
	if len(listed) > 0 || both.Get("kernel/x86/microcode/GenuineIntel.bin") == nil {
		t.Errorf("lsinitramfs alone lists %v", listed)
	}
}

// TestZstdFrame checks what the kernel demands: one frame, a window of at
// most 128 MiB, and equal bytes with any number of processors.
func TestZstdFrame(t *testing.T) {
	tr := makeTree(t, file("big", strings.Repeat("0123456789abcdef", 1<<20)))
	var first bytes.Buffer
	if err := WriteZstd(&first, tr); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "x.zst")
	if err := os.WriteFile(name, first.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	out := run(t, nil, "zstd", "-lv", name)
	for _, want := range []string{"# Zstandard Frames: 1", "Window Size: 8.00 MiB", "Check: XXH64"} {
		if !strings.Contains(out, want) {
			t.Errorf("zstd -lv does not say %q:\n%s", want, out)
		}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var second bytes.Buffer
	if err := WriteZstd(&second, tr); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("one processor makes other bytes (%v)", err)
	}
}

func TestRefused(t *testing.T) {
	old := file("old", "")
	old.ModTime = time.Unix(-5, 0)
	for name, n := range map[string]*tree.Node{
		"FIFO":       {Path: "fifo", Mode: fs.ModeNamedPipe},
		"xattr":      {Path: "cap", Content: tree.String(""), Xattrs: map[string][]byte{"security.capability": {1}}},
		"long name":  {Path: strings.Repeat("n", 5000), Content: tree.String("")},
		"trailer":    {Path: trailer, Content: tree.String("")},
		"time":       old,
		"no content": {Path: "x", Mode: 0o644},
		"lost link":  {Path: "x", Mode: 0o644, Link: "gone"},
		"too big":    {Path: "x", Mode: 0o644, Content: hugeContent{tree.String("")}},
		"wrong size": {Path: "x", Mode: 0o644, Content: longContent{tree.String("")}},
	} {
		tr := tree.New()
		if err := tr.Add(n); err != nil {
			t.Fatal(err)
		}
		if err := Write(&bytes.Buffer{}, tr); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

type hugeContent struct{ tree.Content }

func (hugeContent) Size() int64 { return math.MaxUint32 + 1 }

type longContent struct{ tree.Content }

func (longContent) Size() int64 { return 10 }

// run returns the output of a program that make deps installs.
func run(t testing.TB, stdin []byte, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is missing: run make deps", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}
