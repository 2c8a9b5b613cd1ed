package flash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/progress"
)

var errBroken = errors.New("broken")

// broken is a real medium with faults, and writes down what is done to it.
type broken struct {
	medium
	write func(off, n int64) error // of zeros, too
	sync  func(nth int) error
	flips int // how many reads of flipAt return another bit
	flip  int64

	syncs int
	log   []string
}

func (m *broken) fault(off, n int64) error {
	if m.write == nil {
		return nil
	}
	return m.write(off, n)
}

func (m *broken) WriteAt(b []byte, off int64) (int, error) {
	if err := m.fault(off, int64(len(b))); err != nil {
		return 0, err
	}
	m.log = append(m.log, fmt.Sprintf("write %d", off/mib))
	return m.medium.WriteAt(b, off)
}

func (m *broken) zero(off, n int64) error {
	if err := m.fault(off, n); err != nil {
		return err
	}
	m.log = append(m.log, fmt.Sprintf("zero %d", off/mib))
	return m.medium.zero(off, n)
}

func (m *broken) Sync() error {
	m.log = append(m.log, "sync")
	m.syncs++
	if m.sync != nil {
		if err := m.sync(m.syncs); err != nil {
			return err
		}
	}
	return m.medium.Sync()
}

func (m *broken) ReadAt(b []byte, off int64) (int, error) {
	n, err := m.medium.ReadAt(b, off)
	if m.flips > 0 && off <= m.flip && m.flip < off+int64(n) {
		m.flips--
		b[m.flip-off] ^= 1
	}
	return n, err
}

// writeFaulty writes img to a device that is full of old data, and returns
// what it tells.
func writeFaulty(t *testing.T, ctx context.Context, img string, m *broken, wrap func(io.Reader) io.Reader) (dev string, err error) {
	t.Helper()
	dev = loop(t, blank(t, 40*mib, 0xa5))
	target, err := openTarget(t.Context(), dev, -1, Options{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	defer target.close()
	m.medium, target.m = target.m, m
	w, err := newWriter(t.Context(), target, img, Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var src io.Reader = f
	if wrap != nil {
		src = wrap(f)
	}
	if err := w.run(ctx, src); err != nil {
		return dev, fmt.Errorf("%w%s", target.explainWrite(ctx, err), target.spoil(w.image.Size))
	}
	return dev, nil
}

// looksLikeADisk asks this program and two others.
func looksLikeADisk(t *testing.T, dev string, size int64) bool {
	t.Helper()
	f, err := os.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	last := make([]byte, sector)
	if _, err := f.ReadAt(last, size-sector); err != nil {
		t.Fatal(err)
	}
	_, err = disk.Read(f, 40*mib)
	found := mustTool(t, "wipefs", "-n", dev)
	_, noTable := exec.Command("sfdisk", "-d", dev).Output()
	return !errors.Is(err, disk.ErrNoTable) || disk.IsGPTHeader(last) || found != "" || noTable == nil
}

// TestAFailedWriteLeavesNoDisk breaks one thing each.
func TestAFailedWriteLeavesNoDisk(t *testing.T) {
	const size = 37 * mib // of the image; blocks end at 4, 8, … 36, 37
	from := func(limit int64) func(off, n int64) error {
		return func(off, n int64) error {
			if off+n > limit {
				return errBroken
			}
			return nil
		}
	}
	nth := func(n int) func(int) error {
		return func(i int) error {
			if i == n {
				return errBroken
			}
			return nil
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	tests := []struct {
		name, want string
		m          *broken
		ctx        context.Context
		wrap       func(io.Reader) io.Reader
	}{
		{"write error half way", "broken", &broken{write: from(20 * mib)}, nil, nil},
		{"sync error after most", "broken", &broken{sync: nth(2)}, nil, nil},
		{"sync error after the probes", "broken", &broken{sync: nth(3)}, nil, nil},
		{"sync error after the end", "broken", &broken{sync: nth(4)}, nil, nil},
		{"sync error after the table", "broken", &broken{sync: nth(5)}, nil, nil},
		{"another bit half way", "first at byte 35651584", &broken{flips: 1, flip: 34*mib + 7}, nil, nil},
		{"another bit in the table", "first at byte 0", &broken{flips: 1, flip: 17000}, nil, nil},
		{"another bit at the end", "first at byte 38776832", &broken{flips: 1, flip: size - 100}, nil, nil},
		{"interrupted", "context canceled", &broken{}, ctx, func(r io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(r, 20*mib), cancels{r, cancel})
		}},
	}
	img := testImage(t, contract.GPT, true)
	for _, tt := range tests {
		if tt.ctx == nil {
			tt.ctx = t.Context()
		}
		if tt.m.write != nil { // of the wipe at the device's end, too
			inner := tt.m.write
			tt.m.write = func(off, n int64) error {
				if off >= 39*mib {
					return nil
				}
				return inner(off, n)
			}
		}
		dev, err := writeFaulty(t, tt.ctx, img, tt.m, tt.wrap)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "; the device is not bootable now, write it again") {
			t.Errorf("%s: %v", tt.name, err)
		}
		if looksLikeADisk(t, dev, size) {
			t.Errorf("%s: the device looks like a disk", tt.name)
		}
	}
}

type cancels struct {
	io.Reader
	cancel func()
}

func (c cancels) Read(p []byte) (int, error) { c.cancel(); return c.Reader.Read(p) }

// TestAWriteErrorAt97PerCent, from where on nothing can be erased either: what
// is there is judged, not whether erasing worked.
func TestAWriteErrorAt97PerCent(t *testing.T) {
	const size = 37 * mib
	m := &broken{write: func(off, n int64) error {
		if off < 39*mib && off+n > size*97/100 {
			return errBroken
		}
		return nil
	}}
	dev, err := writeFaulty(t, t.Context(), testImage(t, contract.GPT, true), m, nil)
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "the device is not bootable now") {
		t.Error(err)
	}
	if looksLikeADisk(t, dev, size) {
		t.Error("the device looks like a disk")
	}
}

// TestAnInterruptedWriteIsToldAndErased is the whole way, with a Ctrl-C.
func TestAnInterruptedWriteIsToldAndErased(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dev := loop(t, blank(t, 40*mib, 0xa5))
	_, err := WriteImage(ctx, testImage(t, contract.GPT, true), dev, Options{Force: true, Progress: stops{"verify", cancel}})
	if !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), "; the device is not bootable now, write it again") {
		t.Error(err)
	}
	if looksLikeADisk(t, dev, 37*mib) {
		t.Error("the device looks like a disk")
	}
}

// stops cancels when a stage begins.
type stops struct {
	stage  string
	cancel func()
}

func (s stops) Start(stage, _ string, _ int64) progress.Task {
	if stage == s.stage {
		s.cancel()
	}
	return progress.Discard.Start("", "", 0)
}

// TestWhatCannotBeErasedIsTold: a medium that goes read-only with the table on
// it.
func TestWhatCannotBeErasedIsTold(t *testing.T) {
	m := &broken{flips: 2, flip: 400} // the wipe looks, too
	m.write = func(off, n int64) error {
		if m.syncs >= 4 {
			return errBroken
		}
		return nil
	}
	dev, err := writeFaulty(t, t.Context(), testImage(t, contract.MBR, true), m, nil)
	if err == nil || !strings.Contains(err.Error(), "could not be erased (broken") || !strings.Contains(err.Error(), "do not start a machine from this device") || strings.Contains(err.Error(), "is not bootable") {
		t.Error(err)
	}
	if !looksLikeADisk(t, dev, 36*mib) {
		t.Error("the test tests nothing")
	}
}

// TestTheTableIsWrittenLast, and erased first: each step is durable before the
// next. A power cut at any moment leaves no half disk.
func TestTheTableIsWrittenLast(t *testing.T) {
	img := testImage(t, contract.GPT, true)
	m := &broken{}
	if _, err := writeFaulty(t, t.Context(), img, m, nil); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(m.log[len(m.log)-5:], ", "); got != "sync, write 36, sync, write 0, sync" {
		t.Error(got)
	}
	if before := strings.Join(m.log[:len(m.log)-4], ", "); strings.Contains(before, "write 0") || strings.Contains(before, "write 36") || !strings.HasPrefix(before, "zero 0, zero 39, sync") {
		t.Error(before)
	}
	m = &broken{flips: 1, flip: 17000}
	if _, err := writeFaulty(t, t.Context(), img, m, nil); err == nil {
		t.Fatal("verified")
	}
	if got := strings.Join(m.log[len(m.log)-6:], ", "); got != "write 0, sync, zero 0, sync, zero 36, sync" {
		t.Error(got)
	}
}

func TestImagesOfAnySizeArriveWhole(t *testing.T) {
	for _, size := range []int{1, 511, 513, blockSize - 1, blockSize, blockSize + 1, 2 * blockSize, 3*blockSize + 12345} {
		img := blank(t, int64(size), 'x')
		dev := loop(t, blank(t, 40*mib, 0xa5))
		res, err := WriteImage(t.Context(), img, dev, Options{Force: true, ForceForeign: true})
		if err != nil || res.Image.Size != int64(size) {
			t.Fatal(size, err)
		}
		if sum(t, dev, int64(size)) != sum(t, img, int64(size)) {
			t.Errorf("%d bytes did not arrive", size)
		}
	}
	if _, err := WriteImage(t.Context(), blank(t, 0, 0), loop(t, blank(t, mib, 0)), Options{Force: true, ForceForeign: true}); err == nil {
		t.Error("an empty image was written")
	}
}
