package mint

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

// book records which keys were made for which node.
type book struct {
	name string
	data struct {
		Version int                `json:"version"`
		Nodes   map[string][]Entry `json:"nodes"`
	}
}

// Entry is one key of the book. ID is Headscale's.
type Entry struct {
	ID      headscale.ID `json:"id"`
	Minted  time.Time    `json:"minted"`
	Expires time.Time    `json:"expires"`
}

func readBook(name string) (*book, error) {
	b := &book{name: name}
	text, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b.data.Version = 1
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(text, &b.data); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if b.data.Version != 1 {
		return nil, fmt.Errorf("%s: is of version %d, this program knows 1", name, b.data.Version)
	}
	if b.data.Nodes == nil {
		b.data.Nodes = map[string][]Entry{}
	}
	return b, nil
}

// Keys reads the book of a fleet: the keys made for each node, oldest first.
func Keys(f *fleet.Fleet) (map[string][]Entry, error) {
	b, err := readBook(bookName(f))
	if err != nil {
		return nil, err
	}
	return b.data.Nodes, nil
}

// Joined reports whether a member of the tailnet is the node for which the keys were made,
// and not another device with its name.
func Joined(made []Entry, name string, m headscale.Node) bool {
	return m.Name == name && slices.ContainsFunc(made, func(e Entry) bool { return e.ID == m.KeyID })
}

func bookName(f *fleet.Fleet) string { return filepath.Join(f.Dir(), fleet.SecretsDir, "keys.json") }

// clockDrift is how far this computer's clock and Headscale's may differ.
const clockDrift = time.Hour

// is says whether e is the key k, as listed by Headscale. The ID alone is not enough: a
// Headscale that is new, or was restored from a backup, gives the same IDs to other keys. So
// the expiry must be equal, too; if k was expired early, the time of creation decides.
func (e Entry) is(k headscale.Key) bool {
	ended := k.Expiration.Before(e.Expires) && k.CreatedAt.Sub(e.Minted).Abs() < clockDrift
	return e.ID == k.ID && (k.Expiration.Equal(e.Expires) || ended)
}

// IsOf reports whether a key listed by Headscale is one of made.
func IsOf(made []Entry, k headscale.Key) bool {
	return slices.ContainsFunc(made, func(e Entry) bool { return e.is(k) })
}

// add returns when the entry is on disk.
func (b *book) add(node string, e Entry) error {
	b.data.Nodes[node] = append(b.data.Nodes[node], e)
	text, err := json.MarshalIndent(b.data, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(b.name, append(text, '\n'), 0o600)
}
