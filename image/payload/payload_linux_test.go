package payload_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/going-mobile/imagebuilder/image/payload"
)

// TestTheNodeKnowsItsVersion runs the embedded service, which `make` has
// linked with the version that it gives imagebuilder itself.
func TestTheNodeKnowsItsVersion(t *testing.T) {
	want, err := os.ReadFile("../../bin/.version")
	if err != nil {
		t.Fatalf("%v; run make payload", err)
	}
	content, err := payload.Program("firstboot", runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	r, err := content.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	name := filepath.Join(t.TempDir(), "firstboot")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := exec.Command(name, "version").Output(); err != nil || string(got) != string(want) {
		t.Errorf("firstboot version says %q (%v), make said %q", got, err, want)
	}
}
