package gate

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Model is what is known about one package's own scripts.
type Model struct {
	Package string `yaml:"package"`
	// Effects names what reproduces the scripts: effects of package rootfs,
	// or "elsewhere: …" where another part of the build does it.
	Effects []string `yaml:"effects"`
	// Triggers lists the triggers (deb-triggers(5)) that the package is
	// interested in and whose processing the effects cover.
	Triggers []string `yaml:"triggers"`

	// scripts holds the recordings of the modelled texts, by script name. There are several
	// if architectures or releases differ.
	scripts map[string][]recording
}

type modelFile struct {
	Version int      `yaml:"version"`
	Models  []*Model `yaml:"models"`
}

// models.yaml says what reproduces each package's scripts; recorded.txt has the digests of
// the script texts for which that is true; see parseRecordings.
var (
	//go:embed models.yaml
	modelsYAML []byte
	//go:embed recorded.txt
	recordedText string
)

// parseModels reads both files.
func parseModels(models []byte, recorded string) (map[string]*Model, error) {
	var f modelFile
	if err := strictyaml.Decode("models.yaml", models, &f); err != nil {
		return nil, err
	}
	byName := map[string]*Model{}
	for _, m := range f.Models {
		if byName[m.Package] != nil {
			return nil, fmt.Errorf("models.yaml: %s stands there twice", m.Package)
		}
		m.scripts = map[string][]recording{}
		byName[m.Package] = m
	}
	recordings, err := parseRecordings(recorded)
	if err != nil {
		return nil, err
	}
	for _, r := range recordings {
		m := byName[r.pkg]
		if m == nil {
			return nil, fmt.Errorf("recorded.txt: %s is not in models.yaml", r.pkg)
		}
		m.scripts[r.script] = append(m.scripts[r.script], r)
	}
	return byName, nil
}

var (
	kernelName = regexp.MustCompile(`^linux-(image|modules)-([0-9]+\.[0-9].*)$`)
	multiarch  = regexp.MustCompile(`\b(?:x86_64|aarch64)-linux-gnu\b`)
)

// modelName is the name of a package's model: kernel packages, which have their version in
// the name, share one.
func modelName(pkg string) string {
	if m := kernelName.FindStringSubmatch(pkg); m != nil {
		return "linux-" + m[1] + "-kernel"
	}
	return pkg
}

// general replaces what differs between architectures and kernel versions in the same
// script.
func general(pkg, body string) string {
	if m := kernelName.FindStringSubmatch(pkg); m != nil {
		body = strings.ReplaceAll(body, m[2], "@KERNEL@")
	}
	return multiarch.ReplaceAllString(body, "@MULTIARCH@")
}
