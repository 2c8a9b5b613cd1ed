package firstboot

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Running is what this node runs, as far as an update has to fit it.
type Running struct {
	Board, Version string
	// Made is the time of the image's newest index of Debian.
	Made time.Time
	// Components has the versions of what is no Debian package, Deferred the digests
	// of those that the image left to the node.
	Components, Deferred map[string]string
	// Args are those of the kernel.
	Args contract.Args
	// OwnerKey is that of who may change this node.
	OwnerKey string
}

// ReadImage returns the version of the image that runs, and its time.
func ReadImage(files Files) (version string, made time.Time, err error) {
	h := &Host{Files: files}
	release, err := h.read("/usr/lib/os-release")
	if err != nil {
		return "", time.Time{}, err
	}
	fi, err := files.Stat(epochFile)
	if err != nil {
		return "", time.Time{}, err
	}
	return osRelease(release, "IMAGE_VERSION"), fi.ModTime(), nil
}

// ReadRunning asks the running system.
func ReadRunning(files Files) (*Running, error) {
	h := &Host{Files: files}
	release, err := h.read("/usr/lib/os-release")
	if err != nil {
		return nil, err
	}
	r := &Running{Version: osRelease(release, "IMAGE_VERSION"), Components: map[string]string{}, Deferred: map[string]string{}}
	var ours bool
	if r.Board, ours = contract.ImageBoard(osRelease(release, "IMAGE_ID")); !ours || r.Version == "" {
		return nil, errors.New("this system is no image of imagebuilder: /usr/lib/os-release does not name one")
	}
	fi, err := files.Stat(epochFile)
	if err != nil {
		return nil, err
	}
	r.Made = fi.ModTime()
	cmdline, err := h.read("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	if r.Args, err = contract.ParseArgs(string(cmdline)); err != nil {
		return nil, err
	}
	if err := r.components(h); err != nil {
		return nil, err
	}
	given, err := load(files)
	if err != nil {
		return nil, fmt.Errorf("this node does not know its owner: %w", err)
	}
	r.OwnerKey = given.cfg.OwnerKey
	return r, nil
}

func (r *Running) components(h *Host) error {
	data, err := h.read("/" + node.ComponentsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	list, err := node.LoadComponents(data)
	if err != nil {
		return err
	}
	for _, c := range list.Components {
		r.Components[c.Name] = c.Version
		if c.Deferred {
			r.Deferred[c.Name] = c.SHA256
		}
	}
	return nil
}
