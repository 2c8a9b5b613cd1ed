package flash

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/disk"
)

// TestACardIsImageAndNode, to the last byte, from a compressed image too. An
// empty device shows it: holes keep what was there.
func TestACardIsImageAndNode(t *testing.T) {
	img := testImage(t, contract.GPT, true)
	want := filepath.Join(t.TempDir(), "want")
	mustTool(t, "cp", img, want)
	node := Node{Board: "rpi4", YAML: []byte(secretYAML)}
	if _, err := Personalize(t.Context(), want, node); err != nil {
		t.Fatal(err)
	}
	packed := img + ".zst"
	mustTool(t, "cp", pack(t, img, compress.Zstd), packed)
	for _, src := range []string{img, packed} {
		dev := loop(t, blank(t, 64*mib, 0))
		res, err := WriteImage(t.Context(), src, dev, Options{Force: true, Node: &node})
		if err != nil || !res.ReadBack || res.Written >= res.Image.Size/4 {
			t.Fatalf("%s: %+v, %v", src, res, err)
		}
		if sum(t, dev, fileSize(t, want)) != sum(t, want, fileSize(t, want)) {
			t.Errorf("%s: the card differs", src)
		}
	}
}

// TestHolesAreLeftAlone: they hold what was there before; all that the map has
// is there.
func TestHolesAreLeftAlone(t *testing.T) {
	img := testImage(t, contract.GPT, true)
	m := &broken{}
	dev, err := writeFaulty(t, t.Context(), img, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	have, want := readAll(t, dev), readAll(t, img)
	if log := strings.Join(m.log, ", "); have[30*mib] != 0xa5 || strings.Contains(log, "write 28,") || strings.Contains(log, "zero 28,") {
		t.Errorf("a hole was written: %v", m.log)
	}
	bmap, err := disk.ParseMap("map", readAll(t, img+disk.MapSuffix))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range bmap.Extents() {
		end := min(e.Offset+e.Length, int64(len(want)))
		if !bytes.Equal(have[e.Offset:end], want[e.Offset:end]) {
			t.Errorf("%+v differs", e)
		}
	}
}

// TestAMapThatLeavesDataOutIsNotBelieved: verify cannot see it, as each range
// is right.
func TestAMapThatLeavesDataOutIsNotBelieved(t *testing.T) {
	img := testImage(t, contract.GPT, true)
	bmap, err := disk.ParseMap("map", readAll(t, img+disk.MapSuffix))
	if err != nil {
		t.Fatal(err)
	}
	bmap.Ranges = bmap.Ranges[:1]
	var short bytes.Buffer
	if _, err := bmap.WriteTo(&short); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(img+disk.MapSuffix, short.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	dev := loop(t, blank(t, 64*mib, 0))
	if _, err := WriteImage(t.Context(), img, dev, Options{Force: true}); err != nil {
		t.Fatal(err)
	}
	if sum(t, dev, fileSize(t, img)) != sum(t, img, fileSize(t, img)) {
		t.Error("something is missing on the card")
	}
}

// small is a device that claims more than it has. What is beyond comes out at
// the beginning again, or nowhere.
type small struct {
	medium
	real  int64
	wraps bool
}

func (m small) at(off int64) int64 {
	if m.wraps {
		return off % m.real
	}
	return off
}

func (m small) WriteAt(b []byte, off int64) (int, error) {
	if m.at(off) >= m.real {
		return len(b), nil
	}
	return m.medium.WriteAt(b, m.at(off))
}

func (m small) ReadAt(b []byte, off int64) (int, error) {
	if m.at(off) >= m.real {
		clear(b)
		return len(b), nil
	}
	return m.medium.ReadAt(b, m.at(off))
}

func (m small) zero(off, n int64) error { return errors.ErrUnsupported }

// TestACardThatLiesAboutItsSize holds the image; the node would have lost its
// data on it. One is so small that not even the image arrives.
func TestACardThatLiesAboutItsSize(t *testing.T) {
	img := testImage(t, contract.GPT, true)
	for _, tt := range []struct {
		claimed, real int64
		wraps         bool
		want          string
	}{
		{64 * mib, 64 * mib, true, ""},
		{256 * mib, 64 * mib, true, "is smaller than the 268.4 MB that it says"},
		{256 * mib, 64 * mib, false, "is smaller than the 268.4 MB that it says"},
		{64 * mib, 36 * mib, false, "it is counterfeit"},
		{64 * mib, 8 * mib, true, "counterfeit"},
	} {
		target, err := openTarget(t.Context(), loop(t, blank(t, 64*mib, 0)), -1, Options{Force: true})
		if err != nil {
			t.Fatal(err)
		}
		defer target.close()
		target.size, target.m = tt.claimed, small{target.m, tt.real, tt.wraps}
		w, err := newWriter(t.Context(), target, img, Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = w.run(t.Context(), bytes.NewReader(readAll(t, img)))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// TestACardThatIsPulledOut is told from a broken one.
func TestACardThatIsPulledOut(t *testing.T) {
	m := &broken{}
	m.write = func(off, n int64) error {
		if off > 0 && off < 39*mib && len(m.log) > 4 {
			return unix.ENODEV
		}
		return nil
	}
	_, err := writeFaulty(t, t.Context(), testImage(t, contract.GPT, true), m, nil)
	if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "the device is gone: was it pulled out?") {
		t.Error(err)
	}
}

// TestWritingGoesPastTheCache: and memory of any alignment is good for it.
func TestWritingGoesPastTheCache(t *testing.T) {
	dev := loop(t, blank(t, 4*mib, 0))
	target, err := openTarget(t.Context(), dev, -1, Options{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	defer target.close()
	flags, err := unix.FcntlInt(target.f.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_DIRECT == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	odd := append(make([]byte, 1), bytes.Repeat([]byte{7}, 1024)...)[1:]
	if err := target.put(odd, 512); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 1025)[1:]
	if _, err := target.ReadAt(back, 512); err != nil || !bytes.Equal(back, odd) {
		t.Error("something else came back", err)
	}
	if _, err := io.ReadFull(io.NewSectionReader(target, 700, 3), back[:3]); err != nil || back[0] != 7 {
		t.Error(back[:3], err)
	}
}

// TestWhoMayWriteIsTold names the group of the device.
func TestWhoMayWriteIsTold(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sdb")
	if err := errors.Join(os.WriteFile(name, nil, 0o660), os.Chmod(name, 0o660), os.Chown(name, 0, 6)); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{0o660: "sudo usermod -aG disk $USER", 0o600: "run it with sudo"} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		if err := explainOpen(name, os.ErrPermission); !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "usermod") != (mode == 0o660) {
			t.Error(err)
		}
	}
}

// TestADiskByAnyName is the one that the list has.
func TestADiskByAnyName(t *testing.T) {
	dev, link := loop(t, blank(t, 4*mib, 0)), filepath.Join(t.TempDir(), "card")
	if err := os.Symlink(dev, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dev, "/" + dev, "/dev/../dev/" + filepath.Base(dev), link} {
		if d, err := Lookup(t.Context(), name); err != nil || d == nil || d.Path != dev {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	if d, err := Lookup(t.Context(), filepath.Join(t.TempDir(), "new.img")); err != nil || d != nil {
		t.Errorf("a new file: %+v, %v", d, err)
	}
}

// TestOnlyWhatWasAgreedToIsWritten: while an image is built, another disk may get the
// path of the one that was shown, or take a file's place.
func TestOnlyWhatWasAgreedToIsWritten(t *testing.T) {
	img, backup := testImage(t, contract.GPT, true), blank(t, 64*mib, 0xa5)
	dev := loop(t, backup)
	agreed, err := Lookup(t.Context(), dev)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(backup, 65*mib); err != nil { // no other test can take its number meanwhile
		t.Fatal(err)
	}
	mustTool(t, "losetup", "-c", dev)
	for what, agreed := range map[string]*Device{"the disk that you agreed to, " + dev: agreed, "what you agreed to, which was a file": {}} {
		_, err := WriteImage(t.Context(), img, dev, Options{Force: true, Agreed: agreed})
		if err == nil || !strings.Contains(err.Error(), dev+" (68.2 MB) is not "+what) {
			t.Error(err)
		}
	}
	file := filepath.Join(t.TempDir(), "gone")
	if _, err := WriteImage(t.Context(), img, file, Options{Agreed: agreed}); err == nil || !strings.Contains(err.Error(), "is gone: nothing was written") {
		t.Error(err)
	}
	if readAll(t, backup)[0] != 0xa5 {
		t.Error("the backup is lost")
	}
	now, err := Lookup(t.Context(), dev)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteImage(t.Context(), img, dev, Options{Force: true, Agreed: now}); err != nil {
		t.Error(err)
	}
}
