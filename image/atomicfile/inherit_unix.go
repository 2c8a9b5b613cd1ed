//go:build unix

package atomicfile

import (
	"os"
	"path/filepath"
	"syscall"
)

// inherit gives a file that root writes to the owner of its directory. The owner of the
// file that is replaced does not matter: that file may be root's from an earlier run, and
// in a directory where everybody may write, somebody may have put it there to be given a
// secret. If the file system refuses (NFS with root_squash), the file stays root's.
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

// inheritDir is inherit for a directory that was just made. It follows no link that
// somebody may have put in its place.
func inheritDir(name string) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer f.Close()
	inherit(f, filepath.Dir(name))
}
