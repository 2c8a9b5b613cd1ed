package revoke

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
)

// note is the local record of a node's revocation. A repeated revocation applies to the
// machine of that time; another machine may have the name by now.
type note struct {
	Version int       `json:"version"`
	At      time.Time `json:"at"`
	// Numbers are the machine's IDs in Headscale. Listed says that Headscale was asked for
	// them.
	Numbers []string `json:"numbers,omitempty"`
	Listed  bool     `json:"listed,omitempty"`
	// Told are the holders that know about the revocation.
	Told []string `json:"told,omitempty"`
	// Left says that the machine is out of the cluster.
	Left bool `json:"left,omitempty"`
}

func noteName(f *fleet.Fleet, name string) string {
	return filepath.Join(f.Dir(), fleet.SecretsDir, "revoked", name+".json")
}

// readNote returns nil if the node was never revoked.
func readNote(f *fleet.Fleet, name string) (*note, error) {
	file := noteName(f, name)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var n note
	if err := json.Unmarshal(text, &n); err != nil {
		return nil, fmt.Errorf("%s: %w: remove it if no new machine is called %s yet", file, err, name)
	}
	if n.Version != 1 {
		return nil, fmt.Errorf("%s: is of version %d, this program knows 1", file, n.Version)
	}
	return &n, nil
}

// write returns when the note is on disk.
func (n *note) write(f *fleet.Fleet, name string) error {
	text, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	file := noteName(f, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return atomicfile.WriteFile(file, append(text, '\n'), 0o600)
}

// isLater says that a member with the node's name joined after the revocation. The time of
// joining shows that, as a new Headscale gives out the old numbers again. A number that the
// revoked machine did not have shows it, too, if Headscale was asked at the time.
func (n *note) isLater(m headscale.Node) bool {
	return m.Created.After(n.At) || n.Listed && !slices.Contains(n.Numbers, string(m.ID))
}

// add records a member as one to be shut out.
func (n *note) add(m headscale.Node) {
	if !slices.Contains(n.Numbers, string(m.ID)) {
		n.Numbers = append(n.Numbers, string(m.ID))
	}
}
