package image

import "runtime/debug"

// version is set by the linker; see the Makefile.
var version string

// Version names this build of imagebuilder.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}
