package firstboot

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Release is what an image says about itself.
type Release struct {
	Board, Version string
	// Components has the versions of what is not a Debian package. Deferred has the
	// digests of those components that the image leaves to the node to download.
	Components, Deferred map[string]string
	// Storage is the newest way of keeping encrypted data that it knows: see
	// contract.StorageNone.
	Storage int
}

// Running is what this node runs, as far as an update must fit it.
type Running struct {
	Release
	// Made is the timestamp of the image's newest Debian index.
	Made time.Time
	// Args are the kernel's arguments.
	Args contract.Args
	// OwnerKey is the key of the owner, who may change this node; "" if node.yaml names
	// none.
	OwnerKey string

	cfg *node.Config
}

// ReadImage reads what the running system's image knows, and nothing of the node.
func ReadImage(files Files) (*Running, error) {
	h := &Host{Files: files}
	release, err := ReadRelease(func(name string) ([]byte, error) { return h.read("/" + name) })
	if err != nil {
		return nil, err
	}
	fi, err := files.Stat(epochFile)
	if err != nil {
		return nil, err
	}
	return &Running{Release: *release, Made: fi.ModTime()}, nil
}

// ReadRunning reads what this node runs, with its kernel arguments and its owner's key.
func ReadRunning(files Files) (*Running, error) {
	r, err := ReadImage(files)
	if err != nil {
		return nil, err
	}
	h := &Host{Files: files}
	cmdline, err := h.read("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	if r.Args, err = contract.ParseArgs(string(cmdline)); err != nil {
		return nil, err
	}
	given, err := load(files)
	if err != nil {
		return nil, fmt.Errorf("this node does not know its owner: %w", err)
	}
	r.cfg, r.OwnerKey = given.cfg, given.cfg.OwnerKey
	return r, nil
}

// Votes reports whether this node is a member of its cluster's etcd.
func (r *Running) Votes() bool { return r.cfg.Role.Votes() }

// NeedsStorage returns the Storage that an image must have to open what this node keeps.
func (r *Running) NeedsStorage(h Host) (int, error) {
	text, err := h.storageText()
	switch {
	case err != nil:
		return 0, err
	case text == nil && r.cfg.Storage.Encrypt: // encryption has not begun: the node waits for its holders
		return contract.StorageShares, nil
	case text == nil:
		return contract.StorageNone, nil
	}
	version, ok := storageVersion(text)
	if !ok {
		return 0, fmt.Errorf("%s is damaged: what is needed to open this node's data cannot be told", storageFile)
	}
	return version, nil
}

// ReadRelease reads what an image says about itself from its files. read gets their paths
// relative to the image's root.
func ReadRelease(read func(name string) ([]byte, error)) (*Release, error) {
	text, err := read("usr/lib/os-release")
	if err != nil {
		return nil, err
	}
	r := &Release{Version: osRelease(text, "IMAGE_VERSION"), Components: map[string]string{}, Deferred: map[string]string{}}
	var ours bool
	if r.Board, ours = contract.ImageBoard(osRelease(text, "IMAGE_ID")); !ours || r.Version == "" {
		return nil, errors.New("this system is no image of imagebuilder: /usr/lib/os-release does not name one")
	}
	if r.Storage, err = contract.ParseStorage(osRelease(text, contract.StorageField)); err != nil {
		return nil, fmt.Errorf("/usr/lib/os-release: %s: %w", contract.StorageField, err)
	}
	data, err := read(node.ComponentsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := node.LoadComponents(data)
	if err != nil {
		return nil, err
	}
	for _, c := range list.Components {
		r.Components[c.Name] = c.Version
		if c.Deferred {
			r.Deferred[c.Name] = c.SHA256
		}
	}
	return r, nil
}
