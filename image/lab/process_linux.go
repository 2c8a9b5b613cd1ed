package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// look returns a process's start time, in clock ticks since boot (proc(5)), and its
// arguments.
func look(pid int) (start, args string, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", err
	}
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ") // the process's name may contain blanks
	fields := strings.Fields(rest)
	const started = 22 - 3 // field 3 is the first one after the name
	if len(fields) <= started {
		return "", "", errors.New("no start")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return fields[started], strings.ReplaceAll(string(text), "\x00", " "), err
}
