package contract

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Files in the root of the initramfs, beside /init.
const (
	// ModuleFile lists the modules to load; see EncodeModules.
	ModuleFile = "modules.list"
	// EpochFile holds the time of the build: no clock is allowed to be earlier.
	EpochFile = "epoch"
	// BuildFile holds one line that names the image, for error pages.
	BuildFile = "build"
)

// Module is a kernel module of the initramfs.
type Module struct {
	// Path is the path of its file, from the root.
	Path string
	// Needs names the modules without which it cannot be loaded.
	Needs []string
}

// EncodeModules returns the content of ModuleFile: a line for every module,
// in the order of loading, with its path and the names of those it needs.
func EncodeModules(list []Module) string {
	var b strings.Builder
	for _, m := range list {
		b.WriteString(strings.Join(append([]string{m.Path}, m.Needs...), " ") + "\n")
	}
	return b.String()
}

// ParseModules reads the content of ModuleFile.
func ParseModules(text string) []Module {
	var list []Module
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 0 {
			list = append(list, Module{Path: f[0], Needs: f[1:]})
		}
	}
	return list
}

// EncodeEpoch returns the content of EpochFile: seconds since 1970.
func EncodeEpoch(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) + "\n" }

// ParseEpoch reads the content of EpochFile.
func ParseEpoch(text string) (time.Time, error) {
	seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("/%s: want seconds since 1970", EpochFile)
	}
	return time.Unix(seconds, 0), nil
}
