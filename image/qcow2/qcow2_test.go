package qcow2

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func qemuImg(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %v: %v (is it installed? run make deps)\n%s", args, err, out)
	}
	return string(out)
}

// sparse makes a raw image with noise at some places.
func sparse(t *testing.T, size int64, at ...int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	noise := rand.NewChaCha8([32]byte{1})
	for _, off := range at {
		b := make([]byte, min(5000, size-off))
		_, _ = noise.Read(b)
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

var disks = map[string]struct {
	size int64
	at   []int64
}{
	"one sector":                {sector, []int64{0}},
	"nothing":                   {1 << 20, nil},
	"a cluster cut short":       {cluster + sector, []int64{0, cluster}},
	"over the end of a cluster": {4 * cluster, []int64{2*cluster - 100}},
	"two L2 tables, one empty":  {(2*perTable + 1) * cluster, []int64{0, perTable*cluster - 2500}},
}

// TestQEMUReadsTheSame: qemu-img finds no fault, and the very bytes of the raw
// image, whose empty clusters take no room.
func TestQEMUReadsTheSame(t *testing.T) {
	for name, c := range disks {
		raw := sparse(t, c.size, c.at...)
		file := filepath.Join(t.TempDir(), "image.qcow2")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(f, raw, c.size); err != nil {
			t.Fatal(err)
		}
		if fi, err := f.Stat(); err != nil || fi.Size() > int64(2*len(c.at)+12)*cluster {
			t.Errorf("%s: %d bytes, %v", name, fi.Size(), err)
		}
		f.Close()
		if out := qemuImg(t, "check", "-f", "qcow2", file); !strings.Contains(out, "No errors were found") {
			t.Errorf("%s: %s", name, out)
		}
		if out := qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", raw.Name(), file); !strings.Contains(out, "Images are identical") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// TestManyClusters needs a second refcount block.
func TestManyClusters(t *testing.T) {
	used := make([]bool, 2*perBlock+7)
	for n := range used {
		used[n] = true
	}
	i := arrange(int64(len(used))*cluster, used)
	if blocks := i.l1 - i.blocks; blocks != 3 || i.end > blocks*perBlock {
		t.Errorf("%d blocks for %d clusters", blocks, i.end)
	}
}

func TestTheSameBytes(t *testing.T) {
	raw := sparse(t, 1<<20, 0, 300_000)
	var a, b bytes.Buffer
	if err := Write(&a, raw, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := Write(&b, raw, 1<<20); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Errorf("two images of one: %v", err)
	}
}

func TestNoDisk(t *testing.T) {
	for _, size := range []int64{0, -512, 513, largest + sector} {
		if err := Write(io.Discard, bytes.NewReader(nil), size); err == nil {
			t.Errorf("%d bytes were taken", size)
		}
	}
	if err := Write(io.Discard, bytes.NewReader(make([]byte, 100)), 1024); err == nil {
		t.Error("an image cut short was taken")
	}
}
