package hardware

import (
	_ "embed"
	"strings"
	"sync"
)

// firmwareText says which package of Debian 13 has a file of /usr/lib/firmware, or all
// below a directory. It is made of the archive's own Contents indexes by the test of
// this name: go test -tags oracle -run OracleFirmware ./image/hardware -args -write
//
//go:embed firmware.txt
var firmwareText string

var firmwarePackages = sync.OnceValue(func() map[string]string {
	packages := map[string]string{}
	for line := range strings.Lines(firmwareText) {
		if name, pkg, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			packages[name] = pkg
		}
	}
	return packages
})

// firmwarePackage is the package that has a file, "" where none is known.
func firmwarePackage(file string) string {
	packages := firmwarePackages()
	for name := file; name != ""; {
		if pkg, ok := packages[name]; ok {
			return pkg
		}
		parent := strings.LastIndexByte(strings.TrimSuffix(name, "/"), '/')
		name = name[:parent+1] // with the slash, or nothing
	}
	return ""
}
