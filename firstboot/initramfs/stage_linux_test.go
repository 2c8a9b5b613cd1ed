package initramfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// TestReadStageSaysWhatItIs: a medium that does not answer is not taken for an image without the
// file.
func TestReadStageSaysWhatItIs(t *testing.T) {
	name := filepath.Join(t.TempDir(), "stage")
	if err := os.WriteFile(name, make([]byte, contract.StageSize-1), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readStage(f); err == nil || !strings.Contains(err.Error(), "bytes, not the 512 that") {
		t.Error(err)
	}
	f.Close()
	if _, err := readStage(f); err == nil || strings.Contains(err.Error(), "that an image gives it") {
		t.Errorf("of one that cannot be read: %v", err)
	}
}
