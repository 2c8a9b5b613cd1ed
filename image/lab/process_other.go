//go:build !linux

package lab

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// look returns a process's start time and its arguments. Without ps, as on Windows, it
// fails.
func look(pid int) (start, args string, err error) {
	const date = len("Mon Jan  2 15:04:05 2006")
	ps := exec.Command("ps", "-ww", "-o", "lstart=", "-o", "args=", "-p", strconv.Itoa(pid))
	ps.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	out, err := ps.Output()
	line := strings.TrimSpace(string(out))
	if err == nil && len(line) < date {
		err = errors.New("no start")
	}
	if err != nil {
		return "", "", err
	}
	return line[:date], line[date:], nil
}
