// Package mint makes one key for one node at the fleet's Headscale: single-use,
// tagged and expiring. It remembers which, so that a card that is written
// again, or fails, leaves no second key in the world.
//
// It refuses to work beside another of its kind on one fleet, and to remember
// a key itself: its book holds numbers only.
package mint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/flock"
	"github.com/going-mobile/imagebuilder/image/headscale"
)

// Mint makes the keys of one fleet, for several cards at once. Close it.
type Mint struct {
	mu     sync.Mutex
	fleet  *fleet.Fleet
	client *headscale.Client
	book   *book
	lock   *os.File
}

// Key is a key for one node.
type Key struct {
	Node    string
	Text    secret.String
	Expires time.Time
	// Replaced says that an unused key of the node was expired.
	Replaced bool

	made headscale.Key
}

// Open opens the mint of a fleet, for one user at a time.
func Open(f *fleet.Fleet, client *headscale.Client) (*Mint, error) {
	dir := filepath.Join(f.Dir(), fleet.SecretsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, ok, err := flock.TryPath(filepath.Join(dir, ".lock"))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("another imagebuilder makes keys for the fleet in %s: let it finish", f.Dir())
	}
	b, err := readBook(bookName(f))
	if err != nil {
		flock.Release(lock)
		return nil, err
	}
	return &Mint{fleet: f, client: client, book: b, lock: lock}, nil
}

// Close lets others in.
func (m *Mint) Close() { flock.Release(m.lock) }

// New makes a key for a node, after expiring one that it was given before and
// has not used.
func (m *Mint) New(ctx context.Context, name string, now time.Time) (*Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.fleet.Find(name)
	if err != nil {
		return nil, err
	}
	user, err := m.client.CreateUser(ctx, m.fleet.Cluster.Headscale.User)
	if err != nil {
		return nil, err
	}
	replaced, err := m.expireOld(ctx, name)
	if err != nil {
		return nil, err
	}
	made, err := m.client.CreateKey(ctx, headscale.KeyRequest{
		User: user.ID, Tags: n.Tags(), Expires: now.Add(time.Duration(m.fleet.Cluster.Headscale.KeyExpiry)),
	})
	if err != nil {
		return nil, err
	}
	k := &Key{Node: name, Text: made.Key, Expires: made.Expiration, Replaced: replaced, made: made}
	if err := m.book.add(name, Entry{ID: made.ID, Minted: now.UTC(), Expires: made.Expiration}); err != nil {
		return nil, errors.Join(err, m.Expire(ctx, k))
	}
	return k, nil
}

// Link returns a link to the node's page that hands the key over, signed by the
// fleet's owner.
func (k *Key) Link(owner minisign.PrivateKey, now time.Time) (string, error) {
	signed, err := node.Sign(node.MarshalKey(k.Node, k.Text), k.Node, owner, now)
	return contract.PageLink(k.Node, signed), err
}

// expireOld ends the keys that the book has of a node and that nobody used.
func (m *Mint) expireOld(ctx context.Context, name string) (replaced bool, err error) {
	old := m.book.data.Nodes[name]
	if len(old) == 0 {
		return false, nil
	}
	listed, err := m.client.ListKeys(ctx)
	if err != nil {
		return false, err
	}
	for _, k := range listed {
		if !IsOf(old, k) || k.Used || !k.Expiration.After(time.Now()) {
			continue
		}
		if err := m.client.ExpireKey(ctx, k); err != nil {
			return false, err
		}
		replaced = true
	}
	return replaced, nil
}

// expireTime is how long a key's end may take after the rest has failed, or
// was interrupted.
const expireTime = 20 * time.Second

// Expire ends a key that will not be used, also after ctx has ended.
func (m *Mint) Expire(ctx context.Context, k *Key) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), expireTime)
	defer cancel()
	if err := m.client.ExpireKey(ctx, k.made); err != nil {
		return fmt.Errorf("the key of %s could not be expired, it stays valid until %s: %w", k.Node, k.Expires.Format(time.DateTime), err)
	}
	return nil
}
