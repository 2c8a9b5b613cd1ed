package contract

import (
	"fmt"
	"strings"
)

// Series is the minor release that a component's version belongs to: "1.36" of
// "v1.36.4+k3s1", "0.29" of "0.29.1". ok is false for what is no release, such as the
// "file-0123abcd" of a program that the owner brought along.
func Series(version string) (major, minor int, ok bool) {
	var patch int
	n, _ := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d.%d", &major, &minor, &patch)
	return major, minor, n == 3
}

// SameSeries says whether two versions differ in no more than what a release mends. What
// is no release is of the same series as itself only.
func SameSeries(a, b string) bool {
	aMajor, aMinor, ok1 := Series(a)
	bMajor, bMinor, ok2 := Series(b)
	return a == b || ok1 && ok2 && aMajor == bMajor && aMinor == bMinor
}
