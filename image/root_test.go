package image

import (
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestAPrunedAuthorityIsNoImage: pruning the file of a certificate authority is refused.
// Whoever prunes it means to distrust the authority, but the bundle, made before pruning,
// still contains it.
func TestAPrunedAuthorityIsNoImage(t *testing.T) {
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newSigner(t).Certificate()})
	dir := func(p string) *tree.Node { return &tree.Node{Path: p, Mode: os.ModeDir | 0o755, Source: "test"} }
	file := func(p, text string) *tree.Node {
		return &tree.Node{Path: p, Mode: 0o644, Content: tree.String(text), Source: "test"}
	}
	pkgs := []*deb.Package{{Name: "ca-certificates", Version: "1", Architecture: "amd64", ControlFiles: map[string]string{}, Nodes: []*tree.Node{
		dir("root"), dir("home"), file("usr/lib/os-release", "ID=debian\n"), file("usr/share/ca-certificates/mozilla/B.crt", string(cert)),
	}}}
	p := &plan{opt: Options{Board: &board.Board{Name: "b", Arch: "amd64"}}, prune: []string{"usr/share/ca-certificates/mozilla/B.crt"}}
	_, err := p.assembleRoot(t.Context(), &inputs{lock: &lock.Lock{Timestamp: time.Unix(1, 0)}}, pkgs, "1")
	if err == nil || !strings.Contains(err.Error(), "/usr/share/ca-certificates/mozilla/B.crt goes, and stays trusted") {
		t.Error(err)
	}
}
