package gate

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/deb"
)

var record = flag.String("record", "", "directory of .deb files: add to recorded.txt the scripts that models.yaml knows and it lacks")

// TestRecord does nothing but with -record. It prints what it records, for a
// person to read and to compare with the effects named in models.yaml.
func TestRecord(t *testing.T) {
	if *record == "" {
		t.Log("no -record DIR")
		return
	}
	debs, err := filepath.Glob(filepath.Join(*record, "*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := parseRecordings(recordedText)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range debs {
		p := controlOf(t, path)
		logUnknownBlocks(t, p)
		all = recordPackage(t, p, all)
	}
	if err := os.WriteFile("recorded.txt", []byte(formatRecordings(all)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func recordPackage(t *testing.T, p *deb.Package, all []recording) []recording {
	k, name := builtin(), modelName(p.Name)
	if k.models[name] == nil {
		return all
	}
	for _, script := range []string{"preinst", "postinst"} {
		body := k.residue(p.Name, p.ControlFiles[script])
		known := func(r recording) bool { return r.pkg == name && r.script == script && r.is(body) }
		if body == "" || slices.ContainsFunc(all, known) {
			continue
		}
		all = append(all, newRecording(name, p.Version, script, body))
		t.Logf("recorded the %s of %s %s:\n%s", script, p.Name, p.Version, body)
	}
	return all
}

// logUnknownBlocks prints the digests of the blocks that templates.yaml lacks.
func logUnknownBlocks(t *testing.T, p *deb.Package) {
	k := builtin()
	for _, script := range []string{"preinst", "postinst"} {
		for _, b := range Parse(p.ControlFiles[script]).Blocks {
			if _, ok := k.recognise(b); ok {
				continue
			}
			known := k.tools[b.Tool]
			if known == nil {
				known = &tool{}
			}
			sum, _ := known.digest(b.Body)
			t.Logf("%s of %s %s: unknown block of %s, digest %s:\n%s", script, p.Name, p.Version, b.Tool, sum, b.Body)
		}
	}
}

// controlOf reads a package's control files with dpkg-deb.
func controlOf(t *testing.T, path string) *deb.Package {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "-e", path, dir).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb -e %s: %v: %s", path, err, out)
	}
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
