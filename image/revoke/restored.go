package revoke

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/mint"
	"github.com/going-mobile/imagebuilder/image/replace"
)

// Found is what was valid again.
type Found struct {
	Members []headscale.Node
	Keys    []headscale.Key
}

// Again repeats what a Headscale has forgotten because its database was restored from an
// earlier day, as far as it is recorded at home. It deletes the revoked members by their
// numbers. It expires keys that were superseded by a later card's, or belonged to a revoked
// machine. If Headscale has forgotten nothing, it finds nothing.
func Again(ctx context.Context, f *fleet.Fleet, server Server) (*Found, error) {
	notes, err := notes(f)
	if err != nil {
		return nil, err
	}
	tailnet, err := server.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	found := &Found{}
	for _, m := range tailnet {
		if slices.ContainsFunc([]string{m.Name, m.GivenName}, func(name string) bool { return notes[name].isOf(m) }) {
			found.Members = append(found.Members, m)
		}
	}
	if err := replace.Forget(ctx, server, found.Members); err != nil {
		return nil, fmt.Errorf("delete from the tailnet who was revoked: %w", err)
	}
	found.Keys, err = endedKeys(ctx, f, server, notes)
	if err != nil {
		return nil, err
	}
	return found, mint.ExpireAll(ctx, server, found.Keys)
}

// notes reads the notes of all nodes that were ever revoked, by name.
func notes(f *fleet.Fleet) (map[string]*note, error) {
	files, err := os.ReadDir(filepath.Dir(noteName(f, "")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[string]*note{}
	for _, file := range files {
		name, ours := strings.CutSuffix(file.Name(), ".json")
		if !ours {
			continue
		}
		if out[name], err = readNote(f, name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// isOf says that a member is the revoked machine. A new Headscale may have given the same
// number to another machine, which joined later.
func (n *note) isOf(m headscale.Node) bool {
	return n != nil && slices.Contains(n.Numbers, string(m.ID)) && !m.Created.After(n.At)
}

// endedKeys lists keys that were expired once, and with which a machine could join again.
func endedKeys(ctx context.Context, f *fleet.Fleet, server Server, notes map[string]*note) (out []headscale.Key, err error) {
	book, err := mint.Keys(f)
	if err != nil {
		return nil, err
	}
	listed, err := server.ListKeys(ctx)
	if err != nil {
		return nil, err
	}
	for name, made := range book {
		ended := followed(made, listed)
		if n := notes[name]; n != nil {
			ended = append(ended, slices.DeleteFunc(slices.Clone(made), func(e mint.Entry) bool { return e.Minted.After(n.At) })...)
		}
		out = append(out, mint.Good(ended, listed)...)
	}
	return out, nil
}

// followed are a node's keys before its last one. A last key that expired unused does not
// count: its card may have failed, and the key before it may still be needed.
func followed(made []mint.Entry, listed []headscale.Key) []mint.Entry {
	for len(made) > 0 {
		last := made[len(made)-1:]
		made = made[:len(made)-1]
		at := slices.IndexFunc(listed, func(k headscale.Key) bool { return mint.IsOf(last, k) })
		if at < 0 || listed[at].Used || listed[at].Expiration.After(time.Now()) {
			break
		}
	}
	return slices.Clone(made)
}
