package atomicfile

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/windows"
)

var errNoAccessLists = errors.New("its file system keeps no permissions, as FAT and exFAT do not: take a directory on a disk with NTFS")

// restrict gives a file or directory the access that perm stands for; see Chmod. So far it
// was only compiled: nobody has run it on Windows.
func restrict(name string, perm fs.FileMode, dir bool) error {
	if !isPrivate(perm) {
		return openToOthers(name)
	}
	if err := closeToOthers(name, dir); err != nil {
		return &fs.PathError{Op: "limit access to", Path: name, Err: err}
	}
	return nil
}

func closeToOthers(name string, dir bool) error {
	users, err := usersOf(name)
	if err != nil {
		return err
	}
	if err := setAccess(name, accessList(users, dir), windows.PROTECTED_DACL_SECURITY_INFORMATION); err != nil {
		return err
	}
	// Windows reports success also where a file system has no access lists.
	if !isProtected(name) {
		return errNoAccessLists
	}
	return nil
}

// openToOthers ends what closeToOthers did: the access list is the directory's again. A file on
// which nothing was done is left as it is.
func openToOthers(name string) error {
	if !isProtected(name) {
		return nil
	}
	return setAccess(name, "D:", windows.UNPROTECTED_DACL_SECURITY_INFORMATION)
}

// usersOf are those who may use a private file: who runs the program and, if that is an
// administrator, also the owner of the directory, who needs the file next. See inherit,
// which does the same on Unix.
func usersOf(name string) ([]string, error) {
	token := windows.GetCurrentProcessToken()
	user, err := token.GetTokenUser()
	if err != nil {
		return nil, err
	}
	users := []string{user.User.Sid.String()}
	if !token.IsElevated() {
		return users, nil
	}
	sd, err := windows.GetNamedSecurityInfo(filepath.Dir(name), windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil || sd == nil {
		return users, nil
	}
	if owner, _, err := sd.Owner(); err == nil && owner != nil {
		users = append(users, owner.String())
	}
	return slices.Compact(users), nil
}

func setAccess(name, list string, inheritance windows.SECURITY_INFORMATION) error {
	sd, err := windows.SecurityDescriptorFromString(list)
	if err != nil {
		return err
	}
	dacl, _, err := sd.DACL()
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(name, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION|inheritance, nil, nil, dacl, nil)
}

// isProtected says that a file inherits no access from its directory.
func isProtected(name string) bool {
	sd, err := windows.GetNamedSecurityInfo(name, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil || sd == nil {
		return false
	}
	control, _, err := sd.Control()
	return err == nil && control&windows.SE_DACL_PROTECTED != 0
}
