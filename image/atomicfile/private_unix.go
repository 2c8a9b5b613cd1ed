//go:build unix

package atomicfile

import "io/fs"

// restrict has nothing to do: the mode is enough.
func restrict(string, fs.FileMode, bool) error { return nil }
