package display

import (
	"os"

	"golang.org/x/sys/unix"
)

const noWait = unix.O_NONBLOCK | unix.O_NOCTTY

// size returns the columns and rows of a terminal, ioctl_tty(2); 80 and 25 if
// it does not tell. It avoids f.Fd, which would make f blocking.
func size(f *os.File) (width, height int) {
	width, height = 80, 25
	conn, err := f.SyscallConn()
	if err != nil {
		return width, height
	}
	_ = conn.Control(func(fd uintptr) {
		w, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ)
		if err == nil && w.Col >= 40 && w.Row >= 10 { // it fails in a test, which has no terminal, and may be nonsense
			width, height = int(w.Col), int(w.Row)
		}
	})
	return width, height
}
