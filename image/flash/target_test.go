package flash

import (
	"bytes"
	"os"
	"path/filepath"
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
