package hardware

import (
	_ "embed"
	"strings"
	"sync"
)

// firmwareText maps files of /usr/lib/firmware, or whole directories, to the package of
// Debian 13 that has them. A test makes it from the archive's Contents indexes: go test
// -tags oracle -run OracleFirmware ./image/hardware -args -write
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

// firmwarePackage returns the package that has a file, or "" if none is known.
func firmwarePackage(file string) string {
	packages := firmwarePackages()
	for name := file; name != ""; {
		if pkg, ok := packages[name]; ok {
			return pkg
		}
		parent := strings.LastIndexByte(strings.TrimSuffix(name, "/"), '/')
		name = name[:parent+1] // ends with the slash, or is empty
	}
	return ""
}
