package backup

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"regexp"
	"strconv"
)

// Since 0.29 Headscale records in its database which version used it, and does not start if that
// was a later minor version, or one before the previous minor version
// (hscontrol/db/versioncheck.go). A copy also has that version in the comment of its gzip header,
// where it can be read without sqlite3.

// usedBy returns the version of Headscale that used a database last; "" if that was older than
// 0.29.
func usedBy(ctx context.Context, file string) (string, error) {
	tables, err := query(ctx, file, "SELECT count(*) FROM sqlite_master WHERE name = 'database_versions'")
	if err != nil || tables == "0" {
		return "", err
	}
	return query(ctx, file, "SELECT version FROM database_versions WHERE id = 1")
}

// UsedBy returns the version of Headscale in the newest copy of a store; "" if the copy has none.
func UsedBy(s Store) (string, error) {
	names, err := copies(s)
	if err != nil || len(names) == 0 {
		return "", err
	}
	data, err := s.Get(names[0])
	if err != nil {
		return "", err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("%s: %w: %w", names[0], errDamaged, err)
	}
	return z.Comment, nil
}

// released matches the version of a release. Headscale checks no others.
var released = regexp.MustCompile(`^v?(\d+)\.(\d+)\.\d+$`)

// Reads reports whether a version of Headscale opens a database that another version used last. It
// is also true if either is not a release.
func Reads(version, used string) bool {
	is, was := released.FindStringSubmatch(version), released.FindStringSubmatch(used)
	if is == nil || was == nil {
		return true
	}
	minor, before := number(is[2]), number(was[2])
	return is[1] == was[1] && (minor == before || minor == before+1)
}

// number parses digits that a pattern has matched.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

// Opens returns an error that says why a version of Headscale does not open a database that another
// version used last, nil if it does.
func Opens(version, used string) error {
	if Reads(version, used) {
		return nil
	}
	was := released.FindStringSubmatch(used)
	return fmt.Errorf("its database was used by Headscale %s, which %s does not open: nothing but %s.%d and %s.%d do. Build an image with one of these (imagebuilder build --overlay headscale --component headscale=VERSION), write the card with it (flash --node --image), and update later, one minor version at a time",
		used, version, was[1], number(was[2]), was[1], number(was[2])+1)
}
