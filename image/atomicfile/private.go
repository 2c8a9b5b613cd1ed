package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Chmod sets the permissions of an open file. Windows has no such bits, and os.File.Chmod
// only makes a file read-only there or not. So on Windows a mode without rights for others
// also limits access to the user and the system, and every other mode ends that. It is an
// error if the file system cannot do it.
func Chmod(f *os.File, perm fs.FileMode) error {
	if err := f.Chmod(perm); err != nil {
		return err
	}
	return restrict(f.Name(), perm, false)
}

// Chmod sets the permissions that the finished file will have, in place of Create's.
func (f *File) Chmod(perm fs.FileMode) error { return f.told(Chmod(f.File, perm)) }

// isPrivate says that a mode gives nobody but the owner any rights.
func isPrivate(perm fs.FileMode) bool { return perm&0o077 == 0 }

// accessList is the access list, in Windows' notation (SDDL), of what only the system and
// some users, named by their SIDs, may use. P stands for protected: nothing is inherited
// from the directory that it is in. What is made in a directory inherits its list (OICI).
// It is here, and not in a file for Windows, so that it is tested on every system.
func accessList(users []string, dir bool) string {
	const system = "SY"
	inherit := ""
	if dir {
		inherit = "OICI"
	}
	var b strings.Builder
	b.WriteString("D:P")
	for _, sid := range append([]string{system}, users...) {
		fmt.Fprintf(&b, "(A;%s;FA;;;%s)", inherit, sid)
	}
	return b.String()
}
