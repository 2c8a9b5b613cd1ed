package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/qemu"
)

// Process identifies a machine's QEMU, so that it can be found if the lab that started it
// was killed.
type Process struct {
	PID int `json:"pid"`
	// Start is its start time, which distinguishes it from a later process with the same
	// PID.
	Start string `json:"start"`
	// Disk is a path that its arguments contain.
	Disk string `json:"disk"`
}

// runs says that the process still exists, and is not another one with the same PID.
func (p Process) runs() bool {
	start, args, err := look(p.PID)
	return err == nil && p.Disk != "" && start == p.Start && strings.Contains(args, "file="+qemu.Value(p.Disk)+",")
}

// endTime is how long a killed process may take to end.
const endTime = 10 * time.Second

// end kills the process if it still runs.
func (p Process) end() error {
	process, err := os.FindProcess(p.PID) // pins the PID where the kernel can (pidfd)
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

// endLeft ends the machines that a killed lab left running.
func endLeft(dir string) (err error) {
	s, readErr := readState(dir)
	if readErr != nil {
		return nil // that lab was killed before it had a state
	}
	for _, p := range s.Processes {
		err = errors.Join(err, p.end())
	}
	return err
}
