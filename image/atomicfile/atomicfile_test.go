package atomicfile

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listing is the directory as text: "name mode content".
func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		out.WriteString(e.Name() + " " + fi.Mode().String() + " " + string(b) + "\n")
	}
	return out.String()
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "image.json")
	for _, text := range []string{"first", "second"} {
		if err := WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("image.json -rw-rw-rw- "+text+"\n", listing(t, dir)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestCloseForgets(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x")
	if err := WriteFile(name, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Create(name, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("half of the new")
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff("x -rw------- old\n", listing(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := f.Commit(); err == nil {
		t.Error("committed a closed file")
	}
}

func TestRefusesSpecialFiles(t *testing.T) {
	if err := WriteFile(t.TempDir(), nil, 0o600); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := WriteFile("/dev/null", nil, 0o600); err == nil || !strings.Contains(err.Error(), "device") {
		t.Errorf("device: %v", err)
	}
	if err := WriteFile(filepath.Join(t.TempDir(), "no", "x"), nil, 0o600); err == nil {
		t.Error("wrote into an absent directory")
	}
}

// With ATOMICFILE_TEST set the test binary writes half a file and waits to be
// killed.
func TestMain(m *testing.M) {
	if name := os.Getenv("ATOMICFILE_TEST"); name != "" {
		f, err := Create(name, 0o600)
		if err != nil {
			panic(err)
		}
		f.WriteString("half")
		os.Stdout.WriteString("written\n")
		select {}
	}
	os.Exit(m.Run())
}

func TestKilledWriterLeavesNothingForLong(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "image.img")
	own := filepath.Join(dir, ".image.img.notes.tmp") // not ours to remove
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "ATOMICFILE_TEST="+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Read(make([]byte, 8))
	// While it lives, its file is left alone.
	if err := WriteFile(name, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(listing(t, dir), "half"); n != 1 && runtime.GOOS != "windows" {
		t.Errorf("%d files of the living writer", n)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err := WriteFile(name, []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(".image.img.notes.tmp -rw------- \nimage.img -rw------- whole\n", listing(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
