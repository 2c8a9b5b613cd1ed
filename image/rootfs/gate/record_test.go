package gate

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/deb"
)

var record = flag.String("record", "", "directory of .deb files: write the scripts that models.yaml knows and models/ lacks")

// TestRecord does nothing but with -record. What it writes has to be read by
// a person who compares it with the effects named in models.yaml.
func TestRecord(t *testing.T) {
	if *record == "" {
		t.Log("no -record DIR")
		return
	}
	debs, err := filepath.Glob(filepath.Join(*record, "*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string][]string{}
	for _, m := range Models() {
		for script, texts := range m.scripts {
			have[m.Package+"."+script] = texts
		}
	}
	for _, path := range debs {
		p := controlOf(t, path)
		if loadModels()[modelName(p.Name)] == nil {
			continue
		}
		for _, script := range []string{"preinst", "postinst"} {
			recordScript(t, p, script, have)
		}
	}
}

func recordScript(t *testing.T, p *deb.Package, script string, have map[string][]string) {
	text, ok := p.ControlFiles[script]
	if !ok {
		return
	}
	body := residue(p.Name, text)
	key := modelName(p.Name) + "." + script
	if body == "" || slices.Contains(have[key], body) {
		return
	}
	have[key] = append(have[key], body)
	name := key
	if n := len(have[key]); n > 1 {
		name = fmt.Sprintf("%s-%d", key, n)
	}
	if err := os.WriteFile(filepath.Join("models", name+".sh"), []byte(body+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("recorded %s from %s %s", name, p.Name, p.Version)
}

// controlOf reads a package's control files with dpkg-deb.
func controlOf(t *testing.T, path string) *deb.Package {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "-e", path, dir).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb -e %s: %v: %s", path, err, out)
	}
	return readControl(t, dir)
}

func readControl(t *testing.T, dir string) *deb.Package {
	t.Helper()
	p := &deb.Package{ControlFiles: map[string]string{}}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		p.ControlFiles[f.Name()] = string(b)
	}
	for line := range strings.Lines(p.ControlFiles["control"]) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), ": "); key {
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		}
	}
	return p
}
