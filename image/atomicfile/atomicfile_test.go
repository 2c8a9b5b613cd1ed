package atomicfile

import (
	"errors"
	"io/fs"
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

// owners is the mode 0600 in a listing. Windows shows only whether a file is read-only.
func owners() string {
	if runtime.GOOS == "windows" {
		return "-rw-rw-rw-"
	}
	return "-rw-------"
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
	if diff := cmp.Diff("x "+owners()+" old\n", listing(t, dir)); diff != "" {
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
}

// TestErrorsNameTheFile that was asked for, and none that nobody asked for.
func TestErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	absent := filepath.Join(dir, "no", "x")
	err := WriteFile(absent, nil, 0o600)
	if want := "write " + absent + ": the directory " + filepath.Dir(absent) + " is not there"; !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("an absent directory: %v, want %q", err, want)
	}
	usr := filepath.FromSlash("/usr")
	if err := explain("/usr/x", &fs.PathError{Op: "open", Path: "/usr/.x.1.tmp", Err: fs.ErrPermission}); !errors.Is(err, fs.ErrPermission) || !strings.HasPrefix(err.Error(), "write /usr/x: nothing can be written into the directory "+usr+": ") {
		t.Errorf("a directory of somebody else's: %v", err)
	}
	name := filepath.Join(dir, "x")
	for what, fail := range map[string]func(*File) error{
		"write": func(f *File) error {
			f.File.Close()
			_, err := f.Write([]byte("x"))
			return err
		},
		"sync": func(f *File) error {
			f.File.Close()
			return f.Commit()
		},
		"rename": func(f *File) error {
			os.Remove(f.File.Name())
			return f.Commit()
		},
	} {
		if what == "rename" && runtime.GOOS == "windows" { // where nobody removes it
			continue
		}
		f, err := Create(name, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := fail(f); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), suffix) {
			t.Errorf("%s: %v, want %s in it", what, err, name)
		}
		f.Close()
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
	if diff := cmp.Diff(".image.img.notes.tmp "+owners()+" \nimage.img "+owners()+" whole\n", listing(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
