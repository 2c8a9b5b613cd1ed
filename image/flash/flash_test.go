package flash

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/imagetest"
	"github.com/going-mobile/imagebuilder/image/progress"
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

// testImage makes a small complete image of imagebuilder's; with beside, also the files
// that a build leaves beside it.
func testImage(t *testing.T, scheme contract.Scheme, beside bool) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.img")
	if err := imagetest.Write(name, "rpi4", scheme, beside); err != nil {
		t.Fatal(err)
	}
	return name
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
	img := testImage(t, contract.GPT, true)
	size := fileSize(t, img)
	back := blank(t, 64*mib, 0)
	dev := loop(t, back)
	m := &meter{}
	res, err := WriteImage(t.Context(), img, dev, Options{Force: true, Progress: m})
	if err != nil {
		t.Fatal(err)
	}
	if res.Image.SHA256 != sum(t, img, size) || res.Image.Size != size || len(res.Image.Checks) != 3 || !res.ReadBack || res.Ejected || res.Written > 6*mib {
		t.Errorf("%+v", res)
	}
	if got := sum(t, dev, size); got != res.Image.SHA256 {
		t.Error("the device holds something else")
	}
	if strings.Join(m.starts, " ") != "check write verify verify" || m.n != size+2*res.Written || m.done != 4 {
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
	if _, err := WriteImage(t.Context(), testImage(t, contract.MBR, false), dev, Options{Force: true}); err != nil {
		t.Fatal(err)
	}
	if out := mustTool(t, "sgdisk", "-p", back); strings.Contains(out, "backup") {
		t.Errorf("the old GPT is still found: %s", out)
	}
	if out, _ := exec.Command("blkid", "-p", "-O", "52428800", back).CombinedOutput(); len(out) != 0 {
		t.Errorf("the old file system is still found: %s", out)
	}
}

func TestWritePackedToFile(t *testing.T) {
	img := testImage(t, contract.MBR, false)
	for _, format := range append(slices.Clone(compress.Formats), compress.QCOW2) {
		packed := pack(t, img, format)
		out := filepath.Join(t.TempDir(), "out.img")
		if res, err := WriteImage(t.Context(), packed, out, Options{}); err != nil || !res.ReadBack {
			t.Errorf("%+v, %v", res, err)
		}
		mustTool(t, "cmp", img, out)
		if mode(t, out) != 0o644 {
			t.Errorf("%v", mode(t, out))
		}
	}
}

func pack(t *testing.T, name string, format compress.Format) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := compress.Write(t.Context(), &packed, format, bytes.NewReader(raw), int64(len(raw)), progress.Discard); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "image.img."+string(format))
	if err := os.WriteFile(out, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

func mode(t *testing.T, name string) fs.FileMode {
	t.Helper()
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Mode()
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
	img := testImage(t, contract.MBR, false)
	dev, large := loop(t, blank(t, 16*mib, 0xa5)), loop(t, blank(t, 40*mib, 0))
	packed := pack(t, img, compress.Zstd)
	tests := []struct {
		name string
		do   func() error
		want string
	}{
		{"not removable", func() error { _, err := WriteImage(t.Context(), img, large, Options{}); return err }, "is built in"},
		{"too small", func() error { _, err := WriteImage(t.Context(), img, dev, Options{Force: true}); return err }, "is too small: the image has 37.7 MB"},
		{"too small, seen late", func() error {
			_, err := WriteImage(t.Context(), packed, dev, Options{Force: true})
			return err
		}, "is too small: the image has 37.7 MB"},
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
	_, err := WriteImage(t.Context(), testImage(t, contract.MBR, false), dev, Options{Force: true})
	if err == nil || !strings.Contains(err.Error(), "mounted at "+at) {
		t.Error(err)
	}
	if _, err := Personalize(t.Context(), dev, Node{}); err == nil || !strings.Contains(err.Error(), "is mounted at") {
		t.Error(err)
	}
	if f, err := openDevice(dev); err == nil || !isBusy(err) {
		f.Close()
		t.Errorf("the kernel lets us in: %v", err)
	}
}

// interrupted returns some of an image and then an error.
func interrupted(t *testing.T, img string, after int64, err error) io.Reader {
	t.Helper()
	data, readErr := os.ReadFile(img)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return io.MultiReader(bytes.NewReader(data[:after]), iotest.ErrReader(err))
}

func TestAFileAppearsOnlyWhenItIsWhole(t *testing.T) {
	img := testImage(t, contract.MBR, true)
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(data)
	other[20*mib]++
	dir := t.TempDir()
	for want, src := range map[string]io.Reader{
		"read the image: io: read/write on closed pipe": interrupted(t, img, 5*mib, io.ErrClosedPipe),
		"the image changed while it was written":        bytes.NewReader(other),
		"the image changed while it was written ":       bytes.NewReader(data[:20*mib]),
		"the image changed while it was written  ":      bytes.NewReader(append(data, 1)),
	} {
		target, err := openTarget(t.Context(), filepath.Join(dir, "out.img"), -1, Options{})
		if err != nil {
			t.Fatal(err)
		}
		w, err := newWriter(t.Context(), target, img, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.run(t.Context(), src); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("got %v, want %q", err, want)
		}
		target.close()
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%q leaves %v", want, left)
		}
	}
}

// TestNoImageIsWrittenThatIsNotWhatItShouldBe looks at the device afterwards:
// not one byte of it may have changed.
func TestNoImageIsWrittenThatIsNotWhatItShouldBe(t *testing.T) {
	damaged := testImage(t, contract.GPT, true)
	edit(t, damaged, func(b []byte) []byte { b[34*mib+100] ^= 1; return b })
	short := testImage(t, contract.GPT, false)
	edit(t, short, func(b []byte) []byte { return b[:len(b)-mib/2] })
	noise := filepath.Join(t.TempDir(), "noise")
	if err := os.WriteFile(noise, bytes.Repeat([]byte("noise"), mib), 0o644); err != nil {
		t.Fatal(err)
	}
	good := testImage(t, contract.GPT, true)
	wrongSum := map[string]string{}
	for _, format := range append(slices.Clone(compress.Formats), compress.QCOW2) {
		packed := pack(t, good, format)
		if err := os.WriteFile(packed+".sha256", []byte(strings.Repeat("0", 64)+"  "+filepath.Base(packed)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		wrongSum[packed] = "image.img." + string(format) + ".sha256 says"
	}
	rpi4 := &Node{Board: "rpi4", YAML: []byte(secretYAML)}
	for _, tt := range []struct {
		image, want string
		opt         Options
	}{
		{damaged, "image.img.bmap says: something between bytes", Options{}},
		{damaged, "image.img.bmap says: something between bytes", Options{ForceForeign: true}},
		{short, "is not a whole imagebuilder image: the copy of the partition table at the end", Options{}},
		{noise, "no partition table; take one that 'imagebuilder build' made, or write this one all the same with --force-foreign", Options{}},
		{good, "the image is for board rpi4, the node for optiplex-7050", Options{Node: &Node{Board: "optiplex-7050", YAML: []byte(secretYAML)}}},
		{good, "larger than the 32768 reserved", Options{Node: &Node{Board: "rpi4", YAML: bytes.Repeat([]byte(secretYAML), 1000)}}},
		{noise, "no boot partition of imagebuilder, and nothing else in it reads node.yaml", Options{ForceForeign: true, Node: rpi4}},
	} {
		wrongSum := map[string]string{tt.image: tt.want}
		refuses(t, wrongSum, tt.opt)
	}
	refuses(t, wrongSum, Options{})
	joined := testImage(t, contract.MBR, false)
	mustTool(t, "mdel", "-i", joined+"@@1M", "::node.yaml")
	refuses(t, map[string]string{joined: "node.yaml is gone or was changed"}, Options{Node: rpi4})
	stick := &Node{Board: "rpi4", Installs: true, YAML: []byte(secretYAML)}
	refuses(t, map[string]string{testImage(t, contract.MBR, false): "install: in node.yaml is for computers with UEFI or BIOS: for a Raspberry Pi"}, Options{Node: stick})
}

func refuses(t *testing.T, images map[string]string, opt Options) {
	t.Helper()
	for image, want := range images {
		back := blank(t, 40*mib, 0xa5)
		opt.Force = true
		_, err := WriteImage(t.Context(), image, loop(t, back), opt)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("got %v, want %q", err, want)
		}
		now, err := os.ReadFile(back)
		if err != nil || bytes.Count(now, []byte{0xa5}) != len(now) {
			t.Errorf("%s: the device was written to", want)
		}
	}
}

func edit(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAForeignImageIsWrittenWhenForced(t *testing.T) {
	noise := filepath.Join(t.TempDir(), "noise")
	if err := os.WriteFile(noise, bytes.Repeat([]byte("noise"), mib), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	res, err := WriteImage(t.Context(), noise, out, Options{ForceForeign: true})
	if err != nil || res.Image.Label != nil || len(res.Image.Checks) != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	mustTool(t, "cmp", noise, out)
}

// TestWritingGivesANodeItsIdentity in the same breath, and nobody else may
// read a file with it; nor one that is written from such a file.
func TestWritingGivesANodeItsIdentity(t *testing.T) {
	img := testImage(t, contract.MBR, true)
	packed := pack(t, img, compress.Zstd)
	node := &Node{Board: "rpi4", YAML: []byte(secretYAML)}
	dir := t.TempDir()
	want := filepath.Join(dir, "want.img")
	mustTool(t, "cp", img, want)
	if _, err := Personalize(t.Context(), want, *node); err != nil {
		t.Fatal(err)
	}
	for i, src := range []string{img, packed} {
		out := filepath.Join(dir, fmt.Sprint("out", i))
		res, err := WriteImage(t.Context(), src, out, Options{Node: node})
		if err != nil || !res.ReadBack || res.Image.SHA256 != sum(t, img, fileSize(t, img)) {
			t.Fatalf("%+v, %v", res, err)
		}
		mustTool(t, "cmp", want, out)
		again := out + ".copy"
		if res, err := WriteImage(t.Context(), out, again, Options{}); err != nil || !res.Image.Personalised {
			t.Fatalf("%+v, %v", res, err)
		}
		if mode(t, out) != 0o600 || mode(t, again) != 0o600 {
			t.Errorf("everybody may read the node's secrets: %v, %v", mode(t, out), mode(t, again))
		}
	}
}

func readAll(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
