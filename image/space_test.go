package image

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/component"
)

// TestWhoseDiskIsFull: what nobody has put a place to was written to the cache.
func TestWhoseDiskIsFull(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "x", Err: errNoSpace}
	for want, err := range map[string]error{
		"the disk of CACHE is full: write x: " + errNoSpace.Error() + "; 'imagebuilder cache prune'": full,
		"the disk of OUT is full: write x: ": outOfSpace("OUT", full),
		"go build: the go command ":          fmt.Errorf("go build: %w", &component.FullError{Said: "write /x: no space left on device"}),
	} {
		if got := cacheOutOfSpace("CACHE", err).Error(); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
