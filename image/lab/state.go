package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
)

// State is what other processes on this computer need to reach a running lab: ports on
// 127.0.0.1.
type State struct {
	// API is the port of Headscale's API.
	API int `json:"api"`
	// SSH are the ports of the nodes' ssh, by node.
	SSH map[string]int `json:"ssh"`
	// Processes are the machines that were switched on, by node.
	Processes map[string]Process `json:"processes,omitempty"`
}

// stateFile also marks a directory as a lab's, which may be removed.
const stateFile = "imagebuilder-lab.json"

// Claim marks a directory as a lab's before anything else is in it, so that everything can
// be removed even if the lab is killed right then.
func Claim(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return State{}.write(dir)
}

// Claimed tells whether a directory is a lab's.
func Claimed(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, stateFile))
	return err == nil
}

// Remove ends the machines that still run in a lab's directory, and removes the directory.
// It refuses a directory that is not a lab's, unless it is empty. stateFile is removed last:
// if the process is killed meanwhile, what is left still counts as a lab's.
func Remove(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil || len(entries) > 0 && !Claimed(dir):
		return fmt.Errorf("%s is there and is no lab's: name another", dir)
	}
	if err := endLeft(dir); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == stateFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

func (s State) write(dir string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, stateFile), append(text, '\n'), 0o600)
}

func readState(dir string) (s State, err error) {
	name := filepath.Join(dir, stateFile)
	text, err := os.ReadFile(name)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// Running is a lab that another process runs.
type Running struct {
	State
	Fleet *fleet.Fleet
	// LoginKey is the file with the ssh key for every node.
	LoginKey string
}

// Find finds the lab that runs in a directory.
func Find(dir string) (*Running, error) {
	s, err := readState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no lab runs in %s: start one with 'imagebuilder lab --keep', or name its --dir", dir)
	}
	if err != nil {
		return nil, err
	}
	r := &Running{State: s}
	if r.API == 0 {
		return nil, fmt.Errorf("the lab in %s has switched nothing on yet: wait until it says so", dir)
	}
	if r.Fleet, err = fleet.LoadFile(filepath.Join(dir, fleet.FileName), nil); err != nil {
		return nil, err
	}
	r.LoginKey = filepath.Join(dir, r.Fleet.Cluster.Headscale.Server.LoginKey.File)
	return r, nil
}

// Headscale returns a client of the lab's own Headscale.
func (r *Running) Headscale() (*headscale.Client, error) { return r.State.client(r.Fleet) }

func (s State) client(f *fleet.Fleet) (*headscale.Client, error) {
	c, err := control.Client(f)
	if err == nil {
		c.DialAt("127.0.0.1", fmt.Sprint(s.API))
	}
	return c, err
}
