package image_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/going-mobile/imagebuilder/"

// leaves may import these packages of ours and nothing else: formats know
// bytes and trees, not boards or builds.
var leaves = map[string][]string{
	"image/tree":        {},
	"image/progress":    {},
	"image/atomicfile":  {"image/flock"},
	"image/flock":       {},
	"image/fat":         {"image/tree"},
	"image/squashfs":    {"image/tree"},
	"image/cpio":        {"image/tree"},
	"image/disk":        {"image/progress"},
	"image/compress":    {"image/atomicfile", "image/progress"},
	"image/lock":        {"image/atomicfile"},
	"image/manifest":    {},
	"image/bootinfo":    {},
	"image/sbom":        {"image/manifest"},
	"image/prune":       {"image/tree"},
	"image/kmod":        {"image/memo", "image/tree"},
	"image/memo":        {},
	"image/headscale":   {"firstboot/secret"},
	"firstboot/secret":  {},
	"firstboot/node":    {"firstboot/secret", "firstboot/strictyaml"},
	"image/boot/fdt":    {},
	"image/fetch":       {"image/atomicfile", "image/flock", "image/progress"},
	"image/deb":         {"image/fetch", "image/progress", "image/tree"},
	"image/apt":         {"image/fetch", "image/progress"},
	"image/overlay":     {"firstboot/strictyaml", "image/tree"},
	"image/board":       {"firstboot/strictyaml"},
	"image/rootfs/gate": {"firstboot/strictyaml", "image/deb"},
}

// TestLayers holds the house rules: the node's side never imports the
// builder's, commands are imported by nobody, leaves stay leaves.
func TestLayers(t *testing.T) {
	for path, imports := range packages(t) {
		for _, imported := range imports {
			if strings.HasPrefix(path, "firstboot") && strings.HasPrefix(imported, "image") {
				t.Errorf("%s imports %s: the node must not carry the builder", path, imported)
			}
			if strings.HasPrefix(imported, "cmd/") {
				t.Errorf("%s imports %s: commands hold no logic", path, imported)
			}
			if imported == "image" && !strings.HasPrefix(path, "cmd/") {
				t.Errorf("%s imports image: only commands may", path)
			}
		}
		allowed, isLeaf := leaves[path]
		if !isLeaf {
			continue
		}
		for _, imported := range imports {
			if !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s; it may import %v only", path, imported, allowed)
			}
		}
	}
}

// packages returns the imports, from this module, of each of its packages.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimPrefix(p.ImportPath, module)
		found[path] = []string{}
		for _, i := range p.Imports {
			if own, ok := strings.CutPrefix(i, module); ok {
				found[path] = append(found[path], own)
			}
		}
	}
	for leaf := range leaves {
		if found[leaf] == nil {
			t.Errorf("%s is in the list of leaves, but not in the module", leaf)
		}
	}
	return found
}
