package backup

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"regexp"
	"strconv"
)

// Headscale from 0.29 on notes in its database by which version it was used, and does not
// start with one of a later minor version, nor of one before the last (its
// hscontrol/db/versioncheck.go). A copy has the version besides in the comment of its
// gzip header, where it is read without a database's program.

// usedBy is the version of Headscale that used a database last, "" of one from before.
func usedBy(ctx context.Context, file string) (string, error) {
	tables, err := query(ctx, file, "SELECT count(*) FROM sqlite_master WHERE name = 'database_versions'")
	if err != nil || tables == "0" {
		return "", err
	}
	return query(ctx, file, "SELECT version FROM database_versions WHERE id = 1")
}

// UsedBy is what the newest copy of a store says of that, "" where it says nothing.
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

// released is a version of a release; of others Headscale asks nothing.
var released = regexp.MustCompile(`^v?(\d+)\.(\d+)\.\d+$`)

// Reads says whether a version of Headscale opens a database that another one used last,
// true also where nobody knows.
func Reads(version, used string) bool {
	is, was := released.FindStringSubmatch(version), released.FindStringSubmatch(used)
	if is == nil || was == nil {
		return true
	}
	minor, before := number(is[2]), number(was[2])
	return is[1] == was[1] && (minor == before || minor == before+1)
}

// number reads digits that a pattern has found.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

// Opens says why a version of Headscale does not open a database that another one used
// last, nil where it does.
func Opens(version, used string) error {
	if Reads(version, used) {
		return nil
	}
	was := released.FindStringSubmatch(used)
	return fmt.Errorf("its database was used by Headscale %s, which %s does not open: nothing but %s.%d and %s.%d do. Build an image with one of these (imagebuilder build --overlay headscale --component headscale=VERSION), write the card with it (flash --node --image), and update later, one minor version at a time",
		used, version, was[1], number(was[2]), was[1], number(was[2])+1)
}
