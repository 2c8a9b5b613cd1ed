// Package timezone checks time zones against those in a node's image: a node with an unknown
// time zone would stop at its first start, far away.
//
// It has the names in Debian's tzdata only. Names that Debian moved into tzdata-legacy, such
// as US/Eastern, are in no image and are refused.
package timezone

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
)

// names.txt lists the files below /usr/share/zoneinfo in tzdata 2026f-0+deb13u1 that are
// zones, sorted.
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
