package disks

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/disks/cutdisk"
)

const mib = 1 << 20

func judge(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command("/usr/sbin/"+name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s\nIf it is missing: run make deps", name, args, err, out)
	}
	return string(out)
}

// mke2fs knows what readExt4 has to find.
func TestReadExt4(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fs")
	for _, test := range []struct {
		args  []string
		patch map[int64]byte // of the superblock, for sizes that take mke2fs minutes
		want  ext4
	}{
		{[]string{"-b", "4096", "-O", "metadata_csum,64bit"}, nil, ext4{16384, 4096}},
		{[]string{"-b", "1024", "-O", "^64bit"}, nil, ext4{65536, 1024}},
		{[]string{"-b", "4096", "-O", "64bit"}, map[int64]byte{0x150: 1}, ext4{1<<32 + 16384, 4096}},
		{[]string{"-b", "4096", "-O", "^64bit"}, map[int64]byte{0x150: 1}, ext4{16384, 4096}},
	} {
		if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, 64*mib)); err != nil {
			t.Fatal(err)
		}
		judge(t, "mke2fs", append(append([]string{"-q", "-F", "-t", "ext4"}, test.args...), name)...)
		for off, b := range test.patch {
			patch(t, name, 1024+off, []byte{b})
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readExt4(f)
		f.Close()
		if err != nil || got != test.want {
			t.Errorf("%v: %+v %v, want %+v", test.args, got, err, test.want)
		}
	}
}

func patch(t *testing.T, name string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, off)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestNoExt4(t *testing.T) {
	for what, b := range map[string][]byte{
		"short": make([]byte, 1500), "zero": make([]byte, 4096), "ones": bytes.Repeat([]byte{0xff}, 4096),
	} {
		if got, err := readExt4(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func FuzzReadExt4(f *testing.F) {
	b := make([]byte, 2048)
	b[1024+0x38], b[1024+0x39], b[1024+4] = 0x53, 0xef, 9
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if fs, err := readExt4(bytes.NewReader(b)); err == nil && fs.bytes() <= 0 {
			t.Errorf("%+v has %d bytes", fs, fs.bytes())
		}
	})
}

func TestVerdict(t *testing.T) {
	for code, want := range map[int]verdict{0: fsClean, 1: fsFixed, 2: fsFixed, 3: fsFixed, 4: fsDamaged, 5: fsDamaged, 12: fsDamaged, 8: fsUnchecked, 32: fsUnchecked, 128: fsUnchecked, -1: fsUnchecked} {
		if got := verdictOf(code); got != want {
			t.Errorf("e2fsck %d: %v", code, got)
		}
	}
}

// host runs the host's own tools.
func host(name string, args ...string) (string, int) {
	out, err := exec.Command(name, args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		return err.Error(), 128
	}
	return string(out), 0
}

func blankFile(t *testing.T, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "device")
	if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, size)); err != nil {
		t.Fatal(err)
	}
	return name
}

// A file system that met an error must not be written to any further.
func TestAFileSystemWithAnErrorBecomesReadOnly(t *testing.T) {
	for _, p := range []Purpose{Data, Longhorn} {
		dev := blankFile(t, 64*mib)
		if err := Tools(host).Format(dev, p); err != nil {
			t.Fatal(err)
		}
		said := judge(t, "dumpe2fs", "-h", dev)
		for _, want := range []string{`Errors behavior:\s+Remount read-only`, `Filesystem volume name:\s+` + string(p)} {
			if !regexp.MustCompile(want).MatchString(said) {
				t.Errorf("%s is missing:\n%s", want, said)
			}
		}
	}
}

func TestCheckMendsWhatItMayAndFormatsNothing(t *testing.T) {
	run := Tools(host)
	dev := blankFile(t, 64*mib)
	if _, err := run.Check(dev, false); !errors.Is(err, ErrNoExt4) {
		t.Errorf("an empty device: %v", err)
	}
	if err := run.Format(dev, Data); err != nil {
		t.Fatal(err)
	}
	if fixed, err := run.Check(dev, false); fixed || err != nil {
		t.Errorf("a fresh file system: %v, %v", fixed, err)
	}
	judge(t, "debugfs", "-w", "-R", "clri <2>", dev) // the root directory is no more
	judge(t, "debugfs", "-w", "-R", "set_super_value state 2", dev)
	if fixed, err := run.Check(dev, false); fixed || !errors.Is(err, ErrDamaged) {
		t.Errorf("what e2fsck -p may not mend: %v, %v", fixed, err)
	}
	if fixed, err := run.Check(dev, true); !fixed || err != nil {
		t.Errorf("by force: %v, %v", fixed, err)
	}
}

// A disk that does not answer is not a damaged one: what repairs at any price would
// take what it cannot read for lost.
func TestADiskThatDoesNotAnswerIsNotDamaged(t *testing.T) {
	dev := blankFile(t, 64*mib)
	if err := Tools(host).Format(dev, Data); err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{8, 32, 128, -1} {
		fails := Tools(func(string, ...string) (string, int) { return "Input/output error", code })
		if _, err := fails.Check(dev, false); !errors.Is(err, ErrUnchecked) || errors.Is(err, ErrDamaged) {
			t.Errorf("e2fsck %d: %v", code, err)
		}
	}
	for what, dev := range map[string]string{"gone": dev + "-gone", "unreadable": t.TempDir()} { // EISDIR stands for EIO
		if _, err := Tools(host).Check(dev, false); !errors.Is(err, ErrUnchecked) || errors.Is(err, ErrNoExt4) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// e2fsck -p ends with the same code where the superblock is spoilt, and by force takes
// another.
func TestASpoiltSuperblockIsDamage(t *testing.T) {
	run, dev := Tools(host), blankFile(t, 64*mib)
	if err := run.Format(dev, Data); err != nil {
		t.Fatal(err)
	}
	patch(t, dev, 1024+0x90, []byte("spoilt"))
	if _, err := run.Check(dev, false); !errors.Is(err, ErrDamaged) {
		t.Errorf("what e2fsck -p does not open: %v", err)
	}
	if fixed, err := run.Check(dev, true); !fixed || err != nil {
		t.Errorf("by force: %v, %v", fixed, err)
	}
}

func write(t *testing.T, name string, d *cutdisk.Disk) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s, data := range d.Sectors {
		if _, err := f.WriteAt(data, s*512); err != nil {
			t.Fatal(err)
		}
	}
}
