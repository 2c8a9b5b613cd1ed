package inspect_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
	"github.com/going-mobile/imagebuilder/image/imagetest"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/qcow2"
	"github.com/going-mobile/imagebuilder/image/squashfs"
	"github.com/going-mobile/imagebuilder/image/tree"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// files makes a tree of regular files; a name that ends in "/" is a directory.
func files(t *testing.T, content map[string]string) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for name, text := range content {
		name, isDir := strings.CutSuffix(name, "/")
		if err := tr.MkdirAll(filepath.Dir(name), epoch, "test"); err != nil {
			t.Fatal(err)
		}
		n := &tree.Node{Path: name, Mode: 0o644, Content: tree.String(text), ModTime: epoch, Source: "test"}
		if isDir {
			n.Mode, n.Content = fs.ModeDir|0o755, nil
		}
		if err := tr.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// write makes a small image of the two partitions that every image has.
func write(t *testing.T, boot, root *tree.Tree) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := disk.Arrange(disk.Layout{Scheme: contract.MBR, ID: disk.Signature("test"), Partitions: []disk.Partition{
		{Size: 36 << 20, Type: contract.TypeFAT32}, {Size: 4 << 20, Type: contract.TypeLinux},
	}}, disk.AlignCard)
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Write(f, l); err != nil {
		t.Fatal(err)
	}
	if err := fat.Write(l.Partitions[0].Writer(f), boot, fat.Options{Size: l.Partitions[0].Size, Label: "TEST", ModTime: epoch}); err != nil {
		t.Fatal(err)
	}
	if _, err := squashfs.Write(t.Context(), l.Partitions[1].Writer(f), root, squashfs.Options{ModTime: epoch}); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(l.Size); err != nil {
		t.Fatal(err)
	}
	return name
}

const status = `Package: hello
Status: install ok installed
Architecture: arm64
Version: 2.10-5

Package: gone
Status: deinstall ok config-files
Architecture: arm64
Version: 1

Package: libc6
Status: install ok installed
Architecture: arm64
Version: 2.41-12
`

func TestDescribe(t *testing.T) {
	boot := files(t, map[string]string{contract.LabelFile: `{"board": "rpi4", "arch": "arm64", "imageVersion": "7"}`})
	root := files(t, map[string]string{
		"etc/debian_version":                              "13.7\n",
		"usr/lib/modules/6.12.1-arm64/":                   "",
		node.ComponentsFile:                               `{"version": 1, "components": []}`,
		"usr/lib/imagebuilder/dpkg/status":                status,
		"usr/lib/imagebuilder/dpkg/info/hello.list":       "/usr/bin/hello\n/usr/share/doc/hello/pruned\n",
		"usr/lib/imagebuilder/dpkg/info/libc6:arm64.list": "/usr/lib/libc.so\n",
		"usr/bin/hello":                                   strings.Repeat("h", 1000),
		"usr/lib/libc.so":                                 strings.Repeat("c", 5000),
	})
	img, err := inspect.Open(write(t, boot, root))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	r, err := inspect.Describe(img)
	if err != nil {
		t.Fatal(err)
	}
	if r.Archives == nil || len(r.Archives) != 0 {
		t.Errorf("archives: %+v", r.Archives)
	}
	if r.Identity.Board != "rpi4" || r.Debian != "13.7" || r.Kernel != "6.12.1-arm64" || len(r.Layout.Partitions) != 2 {
		t.Errorf("got %+v", r)
	}
	want := []inspect.Package{{Name: "hello", Version: "2.10-5", Arch: "arm64", Size: 1000}, {Name: "libc6", Version: "2.41-12", Arch: "arm64", Size: 5000}}
	if len(r.Packages) != 2 || r.Packages[0] != want[0] || r.Packages[1] != want[1] {
		t.Errorf("packages: %+v", r.Packages)
	}
	if l := inspect.Largest(r.Packages, 1); len(l) != 1 || l[0].Name != "libc6" {
		t.Errorf("largest: %+v", l)
	}
}

// TestPackagesOfADatabaseThatMeansIll: its paragraphs say nothing, and are many. All of
// them as maps would be a hundred times as much.
func TestPackagesOfADatabaseThatMeansIll(t *testing.T) {
	root := files(t, map[string]string{"usr/lib/imagebuilder/dpkg/status": strings.Repeat("a:\n\n", 1<<18)})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	list, err := inspect.Packages(root)
	runtime.ReadMemStats(&after)
	if err != nil || len(list) != 0 {
		t.Errorf("%d packages, %v", len(list), err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 32<<20 {
		t.Errorf("it took %d MiB in all for a text of one", took>>20)
	}
}

// hollow is content of holes, as a squashfs of a few bytes may have.
type hollow struct{ tree.Content }

func (hollow) Size() int64 { return 1 << 40 }

// TestALongListOfFilesIsRefused, and not taken for none.
func TestALongListOfFilesIsRefused(t *testing.T) {
	root := files(t, map[string]string{"usr/lib/imagebuilder/dpkg/status": status})
	list := &tree.Node{Path: "usr/lib/imagebuilder/dpkg/info/hello.list", Mode: 0o644, Content: hollow{tree.String("")}, Source: "test"}
	if err := root.MkdirAll(filepath.Dir(list.Path), epoch, "test"); err != nil {
		t.Fatal(err)
	}
	if err := root.Add(list); err != nil {
		t.Fatal(err)
	}
	if _, err := inspect.Packages(root); err == nil || !strings.Contains(err.Error(), "hello.list: has 1099511627776 bytes; at most") {
		t.Error(err)
	}
}

// TestQCOW2: an image of QEMU's format is inspected as the disk that it is of, and
// is not mistaken for that where somebody goes on to use its bytes.
func TestQCOW2(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.img")
	if err := imagetest.Write(name, "rpi4", contract.MBR, false); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := qcow2.Write(&b, bytes.NewReader(raw), int64(len(raw))); err != nil {
		t.Fatal(err)
	}
	packed := name + ".qcow2"
	if err := os.WriteFile(packed, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	var seen []disk.Layout
	for _, file := range []string{name, packed} {
		img, err := inspect.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		label, err := img.Identity()
		if err != nil || label.Board != "rpi4" {
			t.Errorf("%s: %+v, %v", file, label, err)
		}
		if err := img.Whole(); err != nil {
			t.Error(err)
		}
		seen = append(seen, img.Layout)
		img.Close()
	}
	if !reflect.DeepEqual(seen[0], seen[1]) {
		t.Errorf("another disk: %+v", seen)
	}
	if _, err := inspect.Identify(packed); err == nil || !strings.Contains(err.Error(), "is of QEMU's format (qcow2); name the raw image") {
		t.Error(err)
	}
	b.Truncate(1000)
	if err := os.WriteFile(packed, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := inspect.Open(packed); err == nil || !strings.Contains(err.Error(), "damaged or cut short") {
		t.Error(err)
	}
}

func TestForeignImagesAreNamedAsSuch(t *testing.T) {
	name := write(t, files(t, map[string]string{"other.txt": ""}), files(t, map[string]string{"x": ""}))
	if _, err := inspect.Identify(name); err == nil || !strings.Contains(err.Error(), "is no imagebuilder image") {
		t.Errorf("got %v", err)
	}
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := inspect.Identify(short); err == nil || !strings.Contains(err.Error(), "is no disk image") {
		t.Errorf("got %v", err)
	}
}
