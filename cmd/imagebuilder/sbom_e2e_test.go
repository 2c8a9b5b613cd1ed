//go:build e2e

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/going-mobile/imagebuilder/image/manifest"
)

func TestSBOMsOfAnImageAreValid(t *testing.T) {
	f := setUp(t)
	m := readManifest(t, f.image+".manifest.json")
	t.Run("CycloneDX", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("testdata/sbom")); err != nil {
			t.Fatal(err)
		}
		tool(t, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		tool(t, dir, "node", "validate.mjs", f.image+".cdx.json")
		var bom struct{ Components []struct{ Name string } }
		readJSON(t, f.image+".cdx.json", &bom)
		if got, want := len(bom.Components), len(m.Packages)+len(m.Components); got != want {
			t.Errorf("%d components, the manifest has %d", got, want)
		}
	})
	t.Run("SPDX", func(t *testing.T) {
		data, err := os.ReadFile(f.image + ".spdx.json")
		if err != nil {
			t.Fatal(err)
		}
		doc, err := spdxjson.Read(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := spdxlib.ValidateDocument(doc); err != nil {
			t.Error(err)
		}
		if got, want := len(doc.Packages), 1+len(m.Packages)+len(m.Components); got != want {
			t.Errorf("%d packages, the manifest has %d", got, want)
		}
		if bytes.Contains(data, []byte(filepath.Dir(f.image))) {
			t.Error("a path of the builder got into it")
		}
	})
}

func readManifest(t *testing.T, name string) *manifest.Manifest {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Decode(name, data)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tool runs a judge in dir.
func tool(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v (is it installed? run `make deps`)\n%s", name, args, err, out)
	}
}
