package image

import (
	"encoding/pem"
	"errors"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/prune"
	"github.com/going-mobile/imagebuilder/image/tree"
	"github.com/going-mobile/imagebuilder/overlays"
)

// rootOf assembles a root of one package for a board that prunes, with an overlay.
func rootOf(t *testing.T, prune []string, own *overlay.Overlay, nodes ...*tree.Node) (*root, error) {
	t.Helper()
	cache, err := fetch.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	nodes = append(nodes, dirNode("root"), dirNode("home"), fileNode("usr/lib/os-release", "ID=debian\n"))
	pkgs := []*deb.Package{{Name: "ca-certificates", Version: "1", Architecture: "amd64", ControlFiles: map[string]string{}, Nodes: nodes}}
	p := &plan{opt: Options{Board: &board.Board{Name: "b", Arch: "amd64"}, Cache: cache}, prune: prune}
	if own != nil {
		p.overlays = append(p.overlays, own)
	}
	return p.assembleRoot(t.Context(), &inputs{lock: &lock.Lock{Timestamp: time.Unix(1, 0)}}, pkgs, "1")
}

func dirNode(p string) *tree.Node {
	return &tree.Node{Path: p, Mode: os.ModeDir | 0o755, Source: "test"}
}

func fileNode(p, text string) *tree.Node {
	return &tree.Node{Path: p, Mode: 0o644, Content: tree.String(text), Source: "test"}
}

// TestAPrunedAuthorityIsNoImage: pruning the file of a certificate authority is refused.
// Whoever prunes it means to distrust the authority, but the bundle, made before pruning,
// still contains it.
func TestAPrunedAuthorityIsNoImage(t *testing.T) {
	const crt = "usr/share/ca-certificates/mozilla/B.crt"
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newSigner(t).Certificate()})
	_, err := rootOf(t, []string{crt}, nil, fileNode(crt, string(cert)))
	if err == nil || !strings.Contains(err.Error(), "/usr/share/ca-certificates/mozilla/B.crt goes, and stays trusted") {
		t.Error(err)
	}
}

// TestWhatAnOverlayBringsStays, or the build says what took it away.
func TestWhatAnOverlayBringsStays(t *testing.T) {
	const modules = "usr/lib/modules/6.12/"
	for brought, want := range map[string]string{
		"etc/own.conf": "",
		"usr/lib/firmware/brcm/brcmfmac43455.bin": "",
		"usr/lib/firmware/brcm/brcmfmac4373.bin":  `prune of board b removes it, by "usr/lib/firmware/brcm/** except brcmfmac43455*": put it elsewhere, or write "usr/lib/firmware/brcm/** except brcmfmac43455* brcmfmac4373.bin" there`,
		"usr/share/doc/own/README":                `prune of overlay own removes it, by "usr/share/doc/**"`,
		modules + "updates/asked.ko":              "name asked under modules:",
		modules + "modules.dep":                   "is written by the build itself",
		modules + "System.map":                    "", // only a slot has none
	} {
		own := &overlay.Overlay{Name: "own", Files: tree.New(), Prune: []string{"usr/share/doc/**"}}
		n := fileNode(brought, "x")
		n.Source = "overlay own"
		err := errors.Join(own.Files.MkdirAll(path.Dir(brought), time.Time{}, n.Source), own.Files.Put(n))
		if err != nil {
			t.Fatal(err)
		}
		prunes := []string{"usr/lib/firmware/brcm/** except brcmfmac43455*", "usr/share/doc/**"}
		_, err = rootOf(t, prunes, own, fileNode(modules+"modules.order", ""))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", brought, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), "overlay own: /"+brought+": ") || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", brought, err, want)
		}
	}
}

// TestOurOverlaysStay: no board of ours prunes what the overlays bring.
func TestOurOverlaysStay(t *testing.T) {
	for _, name := range board.Names(boards.FS) {
		b, err := board.Load(name, boards.FS)
		if err != nil {
			t.Fatal(err)
		}
		p, err := newPlan(Options{Board: b, OverlayFS: overlays.FS, Overlays: overlay.Names(overlays.FS)})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range p.overlays {
			pruned, _, err := prune.Apply(o.Files, p.prune)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.checkBrought(o.Files, p.lostToPrune(o.Files, pruned)); err != nil {
				t.Errorf("board %s: %v", name, err)
			}
		}
	}
}
