package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Process is a machine's QEMU, as it is found again when the lab that started it was
// killed.
type Process struct {
	PID int `json:"pid"`
	// Start tells it from another process that has its number later.
	Start string `json:"start"`
	// Disk is among its arguments.
	Disk string `json:"disk"`
}

// runs says that it is there still, and that the number is no other's.
func (p Process) runs() bool {
	start, args, err := look(p.PID)
	return err == nil && p.Disk != "" && start == p.Start && strings.Contains(args, "file="+p.Disk+",")
}

// endTime is how long a process may take that is killed.
const endTime = 10 * time.Second

// end ends it, if it is there still.
func (p Process) end() error {
	process, err := os.FindProcess(p.PID) // holds the number, where the kernel can, while it is looked at
	if err != nil || !p.runs() {
		return nil
	}
	defer process.Release()
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("a machine of a lab that was killed still runs, as process %d: end it: %w", p.PID, err)
	}
	for until := time.Now().Add(endTime); p.runs(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			return fmt.Errorf("a machine of a lab that was killed still runs after %v, as process %d: end it", endTime, p.PID)
		}
	}
	return nil
}

// endLeft ends the machines that a lab left running that was killed.
func endLeft(dir string) (err error) {
	s, readErr := readState(dir)
	if readErr != nil {
		return nil // killed before there was one
	}
	for _, p := range s.Processes {
		err = errors.Join(err, p.end())
	}
	return err
}
