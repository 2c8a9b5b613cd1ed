// Package payload embeds the node's own two programs, cross-compiled by
// `make payload` before imagebuilder itself is built: firstboot, the service,
// and init, PID 1 of the initramfs. Because they travel inside, the finished
// imagebuilder needs no Go toolchain to build an image.
package payload

import (
	"embed"
	"fmt"

	"github.com/going-mobile/imagebuilder/image/tree"
)

//go:embed all:bin
var bin embed.FS

// Program returns the static executable name ("firstboot", "init") for a
// Debian architecture.
func Program(name, arch string) (tree.Content, error) {
	data, err := bin.ReadFile(fmt.Sprintf("bin/%s-%s", name, arch))
	if err != nil {
		return nil, fmt.Errorf("this imagebuilder carries no %s for %s: build it with `make build`, not with `go build` alone", name, arch)
	}
	return tree.Bytes(data), nil
}
