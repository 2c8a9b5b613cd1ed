package atomicfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
)

// access is the access list of a file, in SDDL.
func access(t *testing.T, name string) string {
	t.Helper()
	sd, err := windows.GetNamedSecurityInfo(name, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	return sd.String()
}

// TestOthersHaveNoAccess to files and directories with a mode for their owner, nor to what
// is in such a directory.
func TestOthersHaveNoAccess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	temp, err := MkdirTemp(dir, "temp-")
	if err != nil {
		t.Fatal(err)
	}
	file, inside := filepath.Join(dir, "key"), filepath.Join(dir, "inside")
	if err := WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, temp, file, inside} {
		got := access(t, name)
		if name != inside && !isProtected(name) {
			t.Errorf("%s inherits: %s", name, got)
		}
		for _, others := range []string{";;;WD)", ";;;AU)", ";;;BU)", ";;;IU)"} { // all, who has logged in, users, who sits there
			if strings.Contains(got, others) {
				t.Errorf("%s is not private: %s", name, got)
			}
		}
		if strings.Count(got, "(A;") < 2 {
			t.Errorf("%s: not even the owner has it: %s", name, got)
		}
	}
}

// TestAFileIsOpenedToOthers when its mode is changed before it has its name, as that of an
// image without secrets is.
func TestAFileIsOpenedToOthers(t *testing.T) {
	name := filepath.Join(t.TempDir(), "image.img")
	f, err := Create(name, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !isProtected(f.Name()) {
		t.Error(access(t, f.Name()))
	}
	if err := f.Chmod(0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := access(t, name); isProtected(name) || strings.Count(got, "(A;") == 0 {
		t.Errorf("it is not as its directory: %s", got)
	}
}

// TestAnEmptyList is not taken for the lack of one, with which everybody has access.
func TestAnEmptyList(t *testing.T) {
	sd, err := windows.SecurityDescriptorFromString("D:")
	if err != nil {
		t.Fatal(err)
	}
	if dacl, _, err := sd.DACL(); err != nil || dacl == nil || dacl.AceCount != 0 {
		t.Errorf("%+v, %v", dacl, err)
	}
}
