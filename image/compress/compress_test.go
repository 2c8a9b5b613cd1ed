package compress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/progress"
)

var decoders = map[Format][]string{Zstd: {"zstd", "-dc"}, XZ: {"xz", "-dc"}, Gzip: {"gzip", "-dc"}}

func mustTool(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: run make deps", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// sample is like an image: noise, text and a lot of zeros, over chunk borders.
func sample(size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < size/4; i++ {
		b[i] = byte(r.Uint32())
	}
	for i := size / 2; i < size*5/8; i++ {
		b[i] = "the quick brown fox"[i%19]
	}
	return b
}

func TestToolsReadWhatIsWritten(t *testing.T) {
	for _, size := range []int{0, 100_000, 2*chunkSize + 77} {
		raw := sample(size)
		for _, f := range Formats {
			dir := t.TempDir()
			name := filepath.Join(dir, "an image.img."+string(f))
			var b bytes.Buffer
			if err := Write(t.Context(), &b, f, bytes.NewReader(raw), int64(size), progress.Discard); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := mustTool(t, dir, decoders[f][0], decoders[f][1], name); !bytes.Equal(got, raw) {
				t.Errorf("%s of %d: decoder gives %d bytes", f, size, len(got))
			}
			reopen(t, name, f, raw)
		}
	}
}

func reopen(t *testing.T, name string, f Format, raw []byte) {
	t.Helper()
	r, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, raw) || r.Format != f {
		t.Errorf("%s: %d bytes of %d, format %q, %v", f, len(got), len(raw), r.Format, err)
	}
}

func TestOpenReadsWhatTheToolsWrite(t *testing.T) {
	dir := t.TempDir()
	name, raw := filepath.Join(dir, "image"), sample(3_000_000)
	if err := os.WriteFile(name, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	reopen(t, name, None, raw)
	if r, err := Open(name); err != nil || r.Size != int64(len(raw)) || r.Close() != nil {
		t.Error(r, err)
	}
	for f, cmd := range map[Format][]string{
		Zstd: {"zstd", "-19", "-c", name}, XZ: {"xz", "-9", "-T2", "-c", name}, Gzip: {"gzip", "-9", "-c", name},
	} {
		packed := filepath.Join(dir, "misnamed.img")
		if err := os.WriteFile(packed, mustTool(t, dir, cmd[0], cmd[1:]...), 0o644); err != nil {
			t.Fatal(err)
		}
		reopen(t, packed, f, raw)
	}
}

func TestOutputDoesNotDependOnCPUs(t *testing.T) {
	raw := sample(2*chunkSize + 5)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, f := range Formats {
		var first []byte
		for _, n := range []int{1, 2, 5} {
			runtime.GOMAXPROCS(n)
			var b bytes.Buffer
			if err := Write(context.Background(), &b, f, bytes.NewReader(raw), int64(len(raw)), progress.Discard); err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = b.Bytes()
			}
			if !bytes.Equal(first, b.Bytes()) {
				t.Errorf("%s differs with %d CPUs", f, n)
			}
		}
	}
}

func TestFailureIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Write(ctx, io.Discard, Zstd, bytes.NewReader(sample(100)), 100, progress.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := Write(t.Context(), io.Discard, Zstd, bytes.NewReader(sample(100)), 101, progress.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestDamageIsReported(t *testing.T) {
	raw := sample(200_000)
	for _, f := range Formats {
		var b bytes.Buffer
		if err := Write(context.Background(), &b, f, bytes.NewReader(raw), int64(len(raw)), progress.Discard); err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(b.Bytes())
		flipped[len(flipped)/2] ^= 0x10
		for name, data := range map[string][]byte{"truncated": b.Bytes()[:b.Len()-20], "flipped": flipped} {
			r, err := NewReader(bytes.NewReader(data))
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err == nil {
				t.Errorf("%s %s: read without error", name, f)
			}
		}
	}
}

// TestStoredXZ covers every padding, and both sides of LZMA2's chunk borders.
func TestStoredXZ(t *testing.T) {
	var all, want []byte
	for _, n := range []int{1, 2, 3, 4, 5, 1<<16 - 1, 1 << 16, 1<<16 + 1, 300_000} {
		raw := sample(4 * n)[:n]
		all, want = append(all, storeXZ(raw)...), append(want, raw...)
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "stored.xz")
	if err := os.WriteFile(name, all, 0o644); err != nil {
		t.Fatal(err)
	}
	mustTool(t, dir, "xz", "-tv", name)
	if got := mustTool(t, dir, "xz", "-dc", name); !bytes.Equal(got, want) {
		t.Errorf("xz gives %d bytes of %d", len(got), len(want))
	}
	if out := mustTool(t, dir, "xz", "--robot", "--list", name); !strings.Contains(string(out), "file\t9\t9\t") {
		t.Errorf("xz --list: %s", out)
	}
	reopen(t, name, XZ, want)
}

// TestQCOW2: it is written and opened as the others are, but needs a file, as it
// is not in the disk's order.
func TestQCOW2(t *testing.T) {
	raw := sample(3<<20 + 512)
	name := filepath.Join(t.TempDir(), "x.qcow2")
	var b bytes.Buffer
	if err := Write(t.Context(), &b, QCOW2, bytes.NewReader(raw), int64(len(raw)), progress.Discard); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	reopen(t, name, QCOW2, raw)
	if _, err := NewReader(&b); err == nil || !strings.Contains(err.Error(), "from a file alone") {
		t.Error(err)
	}
	if err := os.Truncate(name, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name); err == nil || !strings.Contains(err.Error(), name+": qcow2: is cut short in its header") {
		t.Error(err)
	}
}

func TestParseFormat(t *testing.T) {
	if f, err := ParseFormat("xz"); f != XZ || err != nil {
		t.Error(f, err)
	}
	for _, s := range []string{"", "zip", "ZST"} {
		if _, err := ParseFormat(s); err == nil || !strings.Contains(err.Error(), "use zst, xz or gz") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, format := range Formats {
		var b bytes.Buffer
		if err := Write(context.Background(), &b, format, bytes.NewReader(sample(500)), 500, progress.Discard); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte("raw"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		defer r.Close()
		io.Copy(io.Discard, io.LimitReader(r, 16<<20))
	})
}

func BenchmarkWrite(b *testing.B) {
	raw := sample(4 * chunkSize)
	for _, f := range Formats {
		b.Run(string(f), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				var out bytes.Buffer
				if err := Write(context.Background(), &out, f, bytes.NewReader(raw), int64(len(raw)), progress.Discard); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(out.Len()), "bytes")
			}
		})
	}
}

// TestTheEndOfACutFileIsNoEnd: decoders tell of a missing end as
// io.ErrUnexpectedEOF, which io.ReadFull returns for a good one.
func TestTheEndOfACutFileIsNoEnd(t *testing.T) {
	raw := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	for _, format := range Formats {
		var packed bytes.Buffer
		if err := Write(t.Context(), &packed, format, bytes.NewReader(raw), int64(len(raw)), progress.Discard); err != nil {
			t.Fatal(err)
		}
		for _, missing := range []int{1, 9, packed.Len() / 2} {
			r, err := NewReader(bytes.NewReader(packed.Bytes()[:packed.Len()-missing]))
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.ReadFull(r, make([]byte, 2*len(raw)))
			if err == nil || err == io.EOF || err == io.ErrUnexpectedEOF || !strings.Contains(err.Error(), "damaged or cut short") {
				t.Errorf("%s without its last %d bytes: %v", format, missing, err)
			}
			r.Close()
		}
	}
}
