package hardware

import (
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// Finding is something that a machine needs and an image lacks.
type Finding struct {
	// Module or Firmware is the name of what is missing; the other is empty.
	Module   string `json:"module,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	// For lists the devices that need the module.
	For []string `json:"for,omitempty"`
	// Package is the Debian package that has it, or "" if unknown.
	Package string `json:"package,omitempty"`
	// Reason says why the board's lists leave it out on purpose.
	Reason string `json:"reason,omitempty"`
}

// Judge finds what the devices without a driver in a report need and an image's root lacks.
// drivers looks up the modules for a modalias in the complete kernel that the image was
// made from; kernel is that kernel's package.
func Judge(r *contract.Report, root *tree.Tree, drivers func(modalias string) []string, kernel string, lists *List) []Finding {
	have := Modules(root)
	var found []Finding
	for _, d := range r.Devices {
		if d.Driver != "" {
			continue
		}
		for _, module := range drivers(d.Modalias) {
			if have[module] {
				continue
			}
			at := slices.IndexFunc(found, func(f Finding) bool { return f.Module == module })
			if at < 0 {
				at, found = len(found), append(found, Finding{Module: module, Package: kernel, Reason: lists.Without[module]})
			}
			found[at].For = append(found[at].For, d.Modalias)
		}
	}
	for _, file := range r.Firmware {
		if _, err := root.Resolve("usr/lib/firmware/" + file); err != nil {
			found = append(found, Finding{Firmware: file, Package: firmwarePackage(file)})
		}
	}
	return found
}

// Modules returns the modules of a root, by their names in the kernel.
func Modules(root *tree.Tree) map[string]bool {
	have := map[string]bool{}
	for n := range root.Walk() {
		if name, _, ok := strings.Cut(path.Base(n.Path), ".ko"); ok && strings.HasPrefix(n.Path, "usr/lib/modules/") {
			have[strings.ReplaceAll(name, "-", "_")] = true
		}
	}
	return have
}
