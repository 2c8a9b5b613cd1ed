package gate

import (
	"embed"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// The models: models.yaml says what each package's scripts come to, and
// models/PACKAGE.SCRIPT.sh is the normalised text that this was said of. A
// second text of the same script, such as another architecture's, is
// models/PACKAGE.SCRIPT-2.sh.
//
//go:embed models.yaml models/*.sh
var modelFiles embed.FS

// Model is what is known about one package's own scripts.
type Model struct {
	Package string `yaml:"package"`
	// Effects names what reproduces the scripts: effects of package rootfs,
	// or "elsewhere: …" where another part of the build does it.
	Effects []string `yaml:"effects"`
	// Triggers lists the triggers (deb-triggers(5)) that the package is
	// interested in and whose processing the effects cover.
	Triggers []string `yaml:"triggers"`

	scripts map[string][]string // normalised texts by script name
}

type modelFile struct {
	Version int      `yaml:"version"`
	Models  []*Model `yaml:"models"`
}

var loadModels = sync.OnceValue(func() map[string]*Model {
	models, err := parseModels()
	if err != nil {
		panic(err) // the embedded files are tested
	}
	return models
})

// Models returns all models, sorted by package.
func Models() []*Model {
	var out []*Model
	for _, m := range loadModels() {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *Model) int { return strings.Compare(a.Package, b.Package) })
	return out
}

var scriptFile = regexp.MustCompile(`^([a-z0-9+.-]+?)\.(preinst|postinst)(-[0-9]+)?\.sh$`)

func parseModels() (map[string]*Model, error) {
	data, err := modelFiles.ReadFile("models.yaml")
	if err != nil {
		return nil, err
	}
	var f modelFile
	if err := strictyaml.Decode("models.yaml", data, &f); err != nil {
		return nil, err
	}
	models := map[string]*Model{}
	for _, m := range f.Models {
		if models[m.Package] != nil {
			return nil, fmt.Errorf("models.yaml: %s stands there twice", m.Package)
		}
		m.scripts = map[string][]string{}
		models[m.Package] = m
	}
	return models, addScripts(models)
}

func addScripts(models map[string]*Model) error {
	files, err := modelFiles.ReadDir("models")
	if err != nil {
		return err
	}
	for _, f := range files {
		parts := scriptFile.FindStringSubmatch(f.Name())
		if parts == nil || models[parts[1]] == nil {
			return fmt.Errorf("models/%s: belongs to no package of models.yaml", f.Name())
		}
		text, err := modelFiles.ReadFile(path.Join("models", f.Name()))
		if err != nil {
			return err
		}
		m := models[parts[1]]
		m.scripts[parts[2]] = append(m.scripts[parts[2]], strings.TrimSuffix(string(text), "\n"))
	}
	return nil
}

var (
	kernelName = regexp.MustCompile(`^linux-image-([0-9]+\.[0-9].*)$`)
	multiarch  = regexp.MustCompile(`\b(?:x86_64|aarch64)-linux-gnu\b`)
)

// modelName is the name under which a package's model stands: kernels carry
// their version in it.
func modelName(pkg string) string {
	if kernelName.MatchString(pkg) {
		return "linux-image-kernel"
	}
	return pkg
}

// general replaces what differs between architectures and kernel versions
// although nobody edited the script.
func general(pkg, body string) string {
	if m := kernelName.FindStringSubmatch(pkg); m != nil {
		body = strings.ReplaceAll(body, m[1], "@KERNEL@")
	}
	return multiarch.ReplaceAllString(body, "@MULTIARCH@")
}
