//go:build unix

package atomicfile

import (
	"os"
	"path/filepath"
	"syscall"
)

// inherit gives what root writes to the owner of its directory. Not to that of the file
// that is replaced: it may be root's from an earlier time, and in a directory where
// everybody writes somebody may have put it there to be given a secret. A file system
// that refuses (NFS, root_squash) costs the owner, not the write.
func inherit(f *os.File, dir string) {
	if os.Geteuid() != 0 {
		return
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
		_ = f.Chown(int(st.Uid), int(st.Gid))
	}
}

// inheritDir does so for a directory that was just made, and for nothing that somebody has
// put in its place.
func inheritDir(name string) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer f.Close()
	inherit(f, filepath.Dir(name))
}
