// Package component adds pinned programs and files that are not Debian packages to an
// image: k3s, tailscale and headscale, k3s' container images, Helm charts. Each comes from
// the first source that works: a release URL with a known sha256, then a build of a pinned
// Go module. If neither works, the component is deferred: the image contains its URL and
// digest for firstboot. Without a known digest, only the module is tried.
//
// The package refuses content without a trusted digest (a mirror's does not count) and
// programs of another architecture. It never remembers that a source was down. It warns of
// versions with a known defect, and of a lock with another digest for a known version. The
// data about the components is in components.yaml.
package component

import (
	"embed"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

//go:embed components.yaml
var componentsYAML []byte

// The files are COMPONENT.mod and COMPONENT.sum, the go.mod and go.sum of a module under
// other names: a directory with a go.mod of its own cannot be embedded.
//
//go:embed *.mod *.sum
var modules embed.FS

// Component is one entry of components.yaml.
type Component struct {
	Name        string            `yaml:"name"`
	Description string            `yaml:"description"`
	Optional    bool              `yaml:"optional"` // only included with an override
	Format      string            `yaml:"format"`   // "binary" or "tgz"
	Chart       string            `yaml:"chart"`    // for a Helm chart: its name in Chart.yaml and in Index
	URL         string            `yaml:"url"`
	Sums        string            `yaml:"sums"`   // URL of upstream's digests, in sha256sum's format
	Index       string            `yaml:"index"`  // URL of the chart repository's index, which has digests
	Assets      map[string]string `yaml:"assets"` // file name by architecture
	Releases    []Release         `yaml:"releases"`
	Defect      *Defect           `yaml:"defect"`
	Files       []File            `yaml:"files"`
	Links       []Link            `yaml:"links"`
	Single      *Layout           `yaml:"single"` // layout for a download that is one program instead of an archive
	Module      *Module           `yaml:"module"`
}

// Release is a version whose digests are known, by architecture.
type Release struct {
	Version string            `yaml:"version"`
	SHA256  map[string]string `yaml:"sha256"`
}

// Defect is a fault of old versions that affects nodes.
type Defect struct {
	What  string   `yaml:"what"`
	Fixed []string `yaml:"fixed"` // the first good version of each line, such as v1.36.2
}

// Layout is what a component installs in the image.
type Layout struct {
	Files []File `yaml:"files"`
	Links []Link `yaml:"links"`
}

// File is one file of a component in the image. Member is its base name in the archive that
// was downloaded.
type File struct {
	Path    string    `yaml:"path"`
	Mode    node.Mode `yaml:"mode"`
	Member  string    `yaml:"member"`
	Program bool      `yaml:"program"` // an ELF file of the image's architecture
	Archive bool      `yaml:"archive"` // holds container images; its digest and its format's ending are appended to Path
}

// Link is a symbolic link.
type Link struct {
	Path   string `yaml:"path"`
	Target string `yaml:"target"`
}

// Module is a Go program to build if the release cannot be downloaded.
type Module struct {
	Path    string   `yaml:"path"`
	Package string   `yaml:"package"`
	LDFlags string   `yaml:"ldflags"`
	Tags    []string `yaml:"tags"`
	Omit    []string `yaml:"omit"` // each becomes the tag ts_omit_NAME
}

// List returns all components in the order of components.yaml.
func List() ([]Component, error) {
	var file struct {
		Version    int         `yaml:"version"`
		Components []Component `yaml:"components"`
	}
	if err := strictyaml.Decode("components.yaml", componentsYAML, &file); err != nil {
		return nil, err
	}
	if file.Version != 1 {
		return nil, fmt.Errorf("components.yaml: version %d, this program knows 1", file.Version)
	}
	return file.Components, nil
}

// Find returns the component with this name.
func Find(name string) (*Component, error) {
	list, err := List()
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range list {
		if list[i].Name == name {
			return &list[i], nil
		}
		names = append(names, list[i].Name)
	}
	if near := nearest.Name(name, names); near != "" {
		return nil, fmt.Errorf("component %q is unknown (did you mean %q?)", name, near)
	}
	return nil, fmt.Errorf("component %q is unknown; there are %s", name, strings.Join(names, ", "))
}

// ModuleFiles returns go.mod and go.sum of the component's module, which pin everything
// that is compiled.
func (c *Component) ModuleFiles() (mod, sum []byte, err error) {
	if mod, err = modules.ReadFile(c.Name + ".mod"); err != nil {
		return nil, nil, err
	}
	sum, err = modules.ReadFile(c.Name + ".sum")
	return mod, sum, err
}

// ModuleVersion returns the module at the version of the release, such as
// tailscale.com@v1.102.5, or "" without a module.
func (c *Component) ModuleVersion() string {
	if c.Module == nil {
		return ""
	}
	return c.Module.Path + "@v" + strings.TrimPrefix(c.Releases[0].Version, "v")
}

// Architectures lists the architectures for which the component exists, by Debian's names.
func (c *Component) Architectures() []string {
	archs := make([]string, 0, len(c.Assets))
	for a := range c.Assets {
		archs = append(archs, a)
	}
	slices.Sort(archs)
	return archs
}

// digest returns the pinned sha256 of a version, or "" if there is none.
func (c *Component) digest(version, arch string) string {
	for _, r := range c.Releases {
		if r.Version == version {
			return r.SHA256[arch]
		}
	}
	return ""
}

// asset is the name of a version's file upstream.
func (c *Component) asset(version, arch string) string {
	return strings.ReplaceAll(c.Assets[arch], "{version}", version)
}

// expand replaces the placeholders of a URL template.
func (c *Component) expand(template, version, arch string) string {
	return strings.NewReplacer(
		"{version}", strings.ReplaceAll(url.PathEscape(version), "+", "%2B"),
		"{asset}", c.asset(version, arch),
		"{arch}", arch,
	).Replace(template)
}

// layout returns what to install from a download in the given format.
func (c *Component) layout(format string) Layout {
	if format != c.Format && c.Single != nil {
		return *c.Single
	}
	return Layout{c.Files, c.Links}
}

func (f File) mode() fs.FileMode { return fs.FileMode(f.Mode) }
