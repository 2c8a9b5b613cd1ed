// Package timezone knows the names of time zones that a node's image has: a node
// that is told another one stops at its first start, far away.
//
// It knows names only, of Debian's tzdata. Those that Debian moved into
// tzdata-legacy, like US/Eastern, are in no image and are refused here.
package timezone

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
)

// names.txt has the files of tzdata 2026f-0+deb13u1 below /usr/share/zoneinfo that
// are zones, sorted.
//
//go:embed names.txt
var text string

var names = strings.Fields(text)

// Check accepts the name of a zone, and "" for none.
func Check(name string) error {
	if _, known := slices.BinarySearch(names, name); known || name == "" {
		return nil
	}
	if near := nearest.Name(name, names); near != "" {
		return fmt.Errorf("%q is no time zone of Debian's tzdata; did you mean %q?", name, near)
	}
	return fmt.Errorf("%q is no time zone of Debian's tzdata: want one like Europe/Lisbon (names that tz calls backward, like US/Eastern, are not in an image)", name)
}
