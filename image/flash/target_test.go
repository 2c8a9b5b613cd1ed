package flash

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// TestAFileThatIsNoImageStays, unless it is empty or nobody minds: a forgotten
// --node-config makes a target of a node.yaml.
func TestAFileThatIsNoImageStays(t *testing.T) {
	image := testImage(t, contract.MBR, false)
	want, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		is    []byte
		force bool
		stays bool
	}{
		"a node.yaml":         {is: []byte("version: 1\n"), stays: true},
		"a node.yaml, forced": {is: []byte("version: 1\n"), force: true},
		"an image of ours":    {is: want},
		"an empty file":       {},
	} {
		name := filepath.Join(t.TempDir(), "target")
		if err := os.WriteFile(name, c.is, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := WriteImage(t.Context(), image, name, Options{Force: c.force, NoVerify: true})
		if (err != nil) != c.stays || err != nil && !strings.Contains(err.Error(), name+" is there, and would be overwritten") {
			t.Errorf("%s: %v", what, err)
		}
		got, err := os.ReadFile(name)
		if err != nil || bytes.Equal(got, want) == c.stays || c.stays && !bytes.Equal(got, c.is) {
			t.Errorf("%s: %v, %d bytes are there now", what, err, len(got))
		}
	}
}

// TestAForgottenDirectoryOfDevices: a bare name of a device is no new file, and one behind
// a directory's is.
func TestAForgottenDirectoryOfDevices(t *testing.T) {
	if runtime.GOOS == "windows" { // whose devices are nowhere
		return
	}
	t.Chdir(t.TempDir())
	for name, refused := range map[string]bool{"null": true, "./null": false, "sdb-card": false} {
		err := CheckFile(name, true)
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "say /dev/null for the device, or ./null for the file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile("null", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckFile("null", false); err != nil {
		t.Errorf("a file that is there: %v", err)
	}
}
