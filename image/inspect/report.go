package inspect

import (
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/disk"
)

// Report is the result of Describe.
type Report struct {
	Identity   contract.Label   `json:"identity"`
	Debian     string           `json:"debian"` // such as 13.2
	Kernel     string           `json:"kernel"`
	Layout     disk.Layout      `json:"layout"`
	Components []node.Component `json:"components"`
	Archives   []Archive        `json:"archives"` // of container images, not checked
	Packages   []Package        `json:"packages"`
}

// Describe collects what a person wants to know about an image.
func Describe(img *Image) (*Report, error) {
	r := &Report{Layout: img.Layout}
	var err error
	if r.Identity, err = img.Identity(); err != nil {
		return nil, err
	}
	root, err := img.Root()
	if err != nil {
		return nil, err
	}
	version, err := root.ReadAll("etc/debian_version")
	if err != nil {
		return nil, err
	}
	r.Debian = strings.TrimSpace(string(version))
	if r.Kernel, err = Kernel(root); err != nil {
		return nil, err
	}
	list, err := root.ReadAll(node.ComponentsFile)
	if err != nil {
		return nil, err
	}
	components, err := node.LoadComponents(list)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", node.ComponentsFile, err)
	}
	r.Components = components.Components
	if r.Archives, err = Carried(root); err != nil {
		return nil, err
	}
	r.Packages, err = Packages(root)
	return r, err
}
