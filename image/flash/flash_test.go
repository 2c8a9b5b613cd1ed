package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/tree"
)

const mib = 1 << 20

func mustTool(t testing.TB, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: run make deps", name)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// loop attaches a file, or what options say of it, as a block device.
func loop(t *testing.T, file string, options ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loop devices need root: run the tests as root")
	}
	dev := strings.TrimSpace(mustTool(t, "losetup", append(options, "-f", "--show", file)...))
	t.Cleanup(func() { mustTool(t, "losetup", "-d", dev) })
	return dev
}

func blank(t *testing.T, size int64, fill byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, bytes.Repeat([]byte{fill}, int(size)), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// testImage is a whole small image of ours, with a root of noise.
func testImage(t *testing.T, scheme contract.Scheme) string {
	t.Helper()
	l := disk.Layout{Scheme: scheme, ID: "0badcafe", Partitions: []disk.Partition{
		{Size: 33 * mib, Type: contract.TypeFAT32}, {Size: 3 * mib, Type: contract.TypeLinux}}}
	if scheme == contract.GPT {
		l = disk.Layout{Scheme: scheme, ID: disk.GUID("disk"), Partitions: []disk.Partition{
			{Size: 33 * mib, Type: contract.TypeESP, Name: "esp", UUID: disk.GUID("esp")},
			{Size: 3 * mib, Type: contract.TypeRootAMD64, Name: "root-a", UUID: disk.GUID("root-a")}}}
	}
	l, err := disk.Arrange(l, disk.Align)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "image.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	noise := bytes.Repeat([]byte("squashfs?"), 3*mib/9)
	err = errors.Join(f.Truncate(l.Size), disk.Write(f, l),
		fat.Write(l.Partitions[0].Writer(f), bootTree(t), fat.Options{Size: l.Partitions[0].Size, Label: "BOOT"}))
	if _, werr := l.Partitions[1].Writer(f).WriteAt(noise, 0); err != nil || werr != nil {
		t.Fatal(err, werr)
	}
	return name
}

func bootTree(t *testing.T) *tree.Tree {
	tr := tree.New()
	for name, text := range map[string]string{
		contract.LabelFile: `{"board": "rpi4", "imageVersion": "2025.3", "arch": "arm64", "later": 1}`,
		node.FileName:      strings.Repeat("\n", node.ReservedSize),
		"config.txt":       "arm_64bit=1\n",
	} {
		if err := tr.Add(&tree.Node{Path: name, Mode: 0o644, Content: tree.String(text), Source: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func sum(t *testing.T, name string, size int64) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(h, f, size); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// meter checks that progress adds up.
type meter struct {
	starts []string
	n      int64
	done   int
}

func (m *meter) Start(stage, _ string, _ int64) progress.Task {
	m.starts = append(m.starts, stage)
	return m
}
func (m *meter) Add(n int64) { m.n += n }
func (m *meter) Done(error)  { m.done++ }

func TestWriteToLoopDevice(t *testing.T) {
	img := testImage(t, contract.GPT)
	size := fileSize(t, img)
	back := blank(t, 64*mib, 0xa5)
	dev := loop(t, back)
	m := &meter{}
	res, err := WriteImage(t.Context(), img, dev, Options{Force: true, Progress: m})
	if err != nil {
		t.Fatal(err)
	}
	if res.SHA256 != sum(t, img, size) || res.Size != size || !res.Verified {
		t.Errorf("%+v", res)
	}
	if got := sum(t, dev, size); got != res.SHA256 {
		t.Error("the device holds something else")
	}
	if strings.Join(m.starts, " ") != "write verify" || m.n != 2*size || m.done != 2 {
		t.Errorf("progress %+v of %d", m, size)
	}
	if out := mustTool(t, "sfdisk", "-d", dev); !strings.Contains(out, `name="root-a"`) {
		t.Errorf("sfdisk: %s", out)
	}
}

func TestWriteErasesTheOldDisk(t *testing.T) {
	back := blank(t, 64*mib, 0)
	mustTool(t, "sgdisk", "-n1:2048:+8M", "-n2:50M:+8M", back)
	mustTool(t, "mkfs.ext4", "-q", "-F", "-E", "offset=52428800", "-L", "olddata", back, "8M")
	dev := loop(t, back)
	if _, err := WriteImage(t.Context(), testImage(t, contract.MBR), dev, Options{Force: true}); err != nil {
		t.Fatal(err)
	}
	if out := mustTool(t, "sgdisk", "-p", back); strings.Contains(out, "backup") {
		t.Errorf("the old GPT is still found: %s", out)
	}
	if out, _ := exec.Command("blkid", "-p", "-O", "52428800", back).CombinedOutput(); len(out) != 0 {
		t.Errorf("the old file system is still found: %s", out)
	}
}

func TestWriteCompressedToFile(t *testing.T) {
	img := testImage(t, contract.MBR)
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, format := range compress.Formats {
		packed := filepath.Join(t.TempDir(), "packed")
		if _, err := compress.File(t.Context(), packed, format, f, fileSize(t, img), progress.Discard); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out.img")
		if res, err := WriteImage(t.Context(), packed, out, Options{}); err != nil || !res.Verified {
			t.Errorf("%+v, %v", res, err)
		}
		mustTool(t, "cmp", img, out)
	}
}

func fileSize(t *testing.T, name string) int64 {
	t.Helper()
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}

func TestWriteRefusals(t *testing.T) {
	img := testImage(t, contract.MBR)
	dev, large := loop(t, blank(t, 16*mib, 0xa5)), loop(t, blank(t, 40*mib, 0))
	var packed bytes.Buffer
	f, _ := os.Open(img)
	defer f.Close()
	if err := compress.Write(t.Context(), &packed, compress.Zstd, f, fileSize(t, img), progress.Discard); err != nil {
		t.Fatal(err)
	}
	r, err := compress.NewReader(&packed)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tests := []struct {
		name string
		do   func() error
		want string
	}{
		{"not removable", func() error { _, err := WriteImage(t.Context(), img, large, Options{}); return err }, "is built in"},
		{"too small", func() error { _, err := WriteImage(t.Context(), img, dev, Options{Force: true}); return err }, "is too small: the image has 38.8 MB"},
		{"too small, seen late", func() error {
			_, err := Write(t.Context(), Source{Reader: r, Size: -1}, dev, Options{Force: true})
			return err
		}, "is too small: the image has more than its 16777216 bytes; use a larger one; the device is not bootable now"},
		{"itself", func() error { _, err := WriteImage(t.Context(), img, img, Options{}); return err }, "cannot be written to itself"},
		{"no such device", func() error { _, err := WriteImage(t.Context(), img, "/dev/nonesuch", Options{}); return err }, "no such file"},
		{"directory", func() error { _, err := WriteImage(t.Context(), img, t.TempDir(), Options{}); return err }, "is a directory"},
		{"character device", func() error { _, err := WriteImage(t.Context(), img, "/dev/null", Options{}); return err }, "special file"},
	}
	for _, tt := range tests {
		if err := tt.do(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestMountedDeviceIsRefused(t *testing.T) {
	dev := loop(t, blank(t, 16*mib, 0))
	mustTool(t, "mkfs.ext4", "-q", dev)
	at := filepath.Join(t.TempDir(), "my card")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	mustTool(t, "mount", dev, at)
	defer mustTool(t, "umount", at)
	_, err := WriteImage(t.Context(), testImage(t, contract.MBR), dev, Options{Force: true})
	if err == nil || !strings.Contains(err.Error(), "mounted at "+at) {
		t.Error(err)
	}
	if _, err := Personalize(t.Context(), dev, nil, PersonalizeOptions{}); err == nil || !strings.Contains(err.Error(), "is mounted at") {
		t.Error(err)
	}
	if f, err := openDevice(dev); err == nil || !isBusy(err) {
		f.Close()
		t.Errorf("the kernel lets us in: %v", err)
	}
}

func TestFileTargetAppearsOnlyWhenComplete(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.img")
	ctx, cancel := context.WithCancel(t.Context())
	endless := readerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	for name, try := range map[string]func() error{
		"cancelled": func() error { _, err := Write(ctx, Source{Reader: endless, Size: -1}, out, Options{}); return err },
		"truncated": func() error {
			_, err := Write(t.Context(), Source{Reader: strings.NewReader("short"), Size: 6}, out, Options{})
			return err
		},
		"damaged": func() error {
			_, err := Write(t.Context(), Source{Reader: strings.NewReader("short"), Size: 5, SHA256: "00"}, out, Options{})
			return err
		},
		"empty": func() error {
			_, err := Write(t.Context(), Source{Reader: strings.NewReader(""), Size: -1}, out, Options{})
			return err
		},
		"broken": func() error {
			_, err := Write(t.Context(), Source{Reader: readerFunc(func([]byte) (int, error) { return 0, io.ErrClosedPipe }), Size: -1}, out, Options{})
			return err
		},
	} {
		err := try()
		if err == nil || name == "cancelled" && !errors.Is(err, context.Canceled) || name == "broken" && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s leaves %v", name, left)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestVerifyFindsTheDamagedBlock(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 3*blockSize/16)
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &writer{target: &target{name: "card", f: f}, src: Source{Reader: bytes.NewReader(data), Size: int64(len(data))}}
	if err := w.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, blockSize+12345); err != nil {
		t.Fatal(err)
	}
	var v *VerifyError
	if err := w.verify(t.Context()); !errors.As(err, &v) || v.Offset != blockSize {
		t.Error(err)
	}
}

// TestTableIsWrittenLast interrupts a write and looks at what is there.
func TestTableIsWrittenLast(t *testing.T) {
	img, err := os.ReadFile(testImage(t, contract.MBR))
	if err != nil {
		t.Fatal(err)
	}
	back := blank(t, 64*mib, 0xa5)
	dev := loop(t, back)
	ctx, cancel := context.WithCancel(t.Context())
	left := bytes.NewReader(img)
	src := readerFunc(func(p []byte) (int, error) {
		if left.Len() < len(img)/2 {
			cancel()
		}
		return left.Read(p)
	})
	if _, err := Write(ctx, Source{Reader: src, Size: int64(len(img))}, dev, Options{Force: true}); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "not bootable") {
		t.Error(err)
	}
	f, err := os.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if l, err := disk.Read(f, 64*mib); !errors.Is(err, disk.ErrNoTable) {
		t.Errorf("%+v, %v", l, err)
	}
}
