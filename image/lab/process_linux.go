package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// look tells when a process started, in ticks since the computer did (proc(5)), and its
// arguments.
func look(pid int) (start, args string, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", err
	}
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ") // a name may have blanks
	fields := strings.Fields(rest)
	const started = 22 - 3 // the third is the first behind the name
	if len(fields) <= started {
		return "", "", errors.New("no start")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return fields[started], strings.ReplaceAll(string(text), "\x00", " "), err
}
