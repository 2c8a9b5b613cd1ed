// Package mint makes one pre-auth key for one node at the fleet's Headscale: single-use,
// tagged and expiring. It records which keys it made, so that a card that is written again,
// or fails, does not leave a second valid key. A node's previous key stays valid until the
// new one was handed over, as its card may be in the post. If the previous key could not be
// expired, because the power failed, say, the book has both, and the next key expires both.
//
// Only one Mint may be open for a fleet. The text of a key is not recorded: the book
// contains IDs and times only.
package mint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/flock"
	"github.com/going-mobile/imagebuilder/image/headscale"
)

// Mint makes keys for one fleet, also for several cards at once. Close it after use.
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
	// Replaced says that an unused key of the node was expired after this one was handed
	// over.
	Replaced bool

	made headscale.Key
}

// Open opens the mint of a fleet. A second Open fails until Close.
func Open(f *fleet.Fleet, client *headscale.Client) (*Mint, error) {
	dir := filepath.Join(f.Dir(), fleet.SecretsDir)
	if err := atomicfile.MkdirAll(dir, 0o700); err != nil {
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

// Close releases the mint for others.
func (m *Mint) Close() { flock.Release(m.lock) }

// Hand makes a key for a node, and calls over to hand it over. If over fails, the new key is
// expired and the node's previous key stays valid. Otherwise the previous key is expired,
// unless it was used. If only that fails, Hand returns the new key and an error.
func (m *Mint) Hand(ctx context.Context, name string, now time.Time, over func(*Key) error) (*Key, error) {
	k, err := m.make(ctx, name, now)
	if err != nil {
		return nil, err
	}
	if err := over(k); err != nil {
		return nil, errors.Join(err, m.expire(ctx, k))
	}
	k.Replaced, err = m.expireOthers(ctx, k)
	return k, err
}

func (m *Mint) make(ctx context.Context, name string, now time.Time) (*Key, error) {
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
	made, err := m.client.CreateKey(ctx, headscale.KeyRequest{
		User: user.ID, Tags: n.Tags(), Expires: now.Add(time.Duration(m.fleet.Cluster.Headscale.KeyExpiry)),
	})
	if err != nil {
		return nil, err
	}
	k := &Key{Node: name, Text: made.Key, Expires: made.Expiration, made: made}
	if err := m.book.add(name, Entry{ID: made.ID, Minted: now.UTC(), Expires: made.Expiration}); err != nil {
		return nil, errors.Join(err, m.expire(ctx, k))
	}
	return k, nil
}

// Link returns a link to the node's page that hands over the key, signed by the fleet's
// owner. It leads to the node's name in its network, or to an address if that is valid.
func (k *Key) Link(owner minisign.PrivateKey, at netip.Addr, now time.Time) (string, error) {
	signed, err := node.Sign(node.MarshalKey(k.Node, k.Text), k.Node, owner, now)
	if at.IsValid() {
		return contract.PageLinkAt(at, signed), err
	}
	return contract.PageLink(k.Node, signed), err
}

// expireOthers expires all unused keys of k's node in the book, except k. It does so even if
// ctx has ended, as k was handed over.
func (m *Mint) expireOthers(ctx context.Context, k *Key) (replaced bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	others := slices.DeleteFunc(slices.Clone(m.book.data.Nodes[k.Node]), func(e Entry) bool { return e.is(k.made) })
	if len(others) == 0 {
		return false, nil
	}
	ctx, cancel := late(ctx)
	defer cancel()
	listed, err := m.client.ListKeys(ctx)
	former := Good(others, listed)
	if err == nil {
		err = ExpireAll(ctx, m.client, former)
	}
	if err != nil {
		return false, fmt.Errorf("%s has its new key, but an unused one that it had before could not be expired and is good until its time is over, or 'headscale preauthkeys expire' ends it: %w", k.Node, err)
	}
	return len(former) > 0, nil
}

// expireTime bounds the expiring of a key after everything else failed or was interrupted.
const expireTime = 20 * time.Second

func late(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), expireTime)
}

// expire expires a key that will not be used, even if ctx has ended.
func (m *Mint) expire(ctx context.Context, k *Key) error {
	ctx, cancel := late(ctx)
	defer cancel()
	if err := m.client.ExpireKey(ctx, k.made); err != nil {
		return fmt.Errorf("the key of %s could not be expired, it stays valid until %s: %w", k.Node, k.Expires.Format(time.DateTime), err)
	}
	return nil
}
