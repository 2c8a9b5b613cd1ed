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

// note is what is known at home of a node's revocation: what is done again is for the
// machine of then, and a name may be another one's by now.
type note struct {
	Version int       `json:"version"`
	At      time.Time `json:"at"`
	// Numbers are those that it had in Headscale; Listed says that Headscale told them.
	Numbers []string `json:"numbers,omitempty"`
	Listed  bool     `json:"listed,omitempty"`
	// Told are the holders that know.
	Told []string `json:"told,omitempty"`
}

func noteName(f *fleet.Fleet, name string) string {
	return filepath.Join(f.Dir(), fleet.SecretsDir, "revoked", name+".json")
}

// readNote returns nil where the node was never revoked.
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

// write is durable when it returns.
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

// isLater says of a member of the name that it came after the revocation. The time tells, as
// a Headscale that began anew gives the numbers of then again; so does a number that it did
// not have, if Headscale was asked then.
func (n *note) isLater(m headscale.Node) bool {
	return m.Created.After(n.At) || n.Listed && !slices.Contains(n.Numbers, string(m.ID))
}

// add notes a member as the one to be shut out.
func (n *note) add(m headscale.Node) {
	if !slices.Contains(n.Numbers, string(m.ID)) {
		n.Numbers = append(n.Numbers, string(m.ID))
	}
}
