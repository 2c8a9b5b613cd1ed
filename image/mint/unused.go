package mint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
)

// Keyring is what Headscale is asked for about keys.
type Keyring interface {
	ListKeys(context.Context) ([]headscale.Key, error)
	ExpireKey(context.Context, headscale.Key) error
}

// Unused returns the unused keys with which somebody could join as the node and that were
// made no later than until. ours were made for the node. unknown have exactly the node's
// tags, but are in no node's list in the book, for instance because the book was restored
// from an older copy. later are those made for the node since.
func Unused(ctx context.Context, f *fleet.Fleet, server Keyring, name string, until time.Time) (ours, unknown, later []headscale.Key, err error) {
	n, err := f.Find(name)
	if err != nil {
		return nil, nil, nil, err
	}
	made, err := Keys(f)
	if err != nil {
		return nil, nil, nil, err
	}
	listed, err := server.ListKeys(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	all := slices.Concat(slices.Collect(maps.Values(made))...)
	for _, k := range listed {
		if !IsOf(all, k) && canJoin(k) && sameTags(k.Tags, n.Tags()) && !k.CreatedAt.After(until) && !ofAnother(f, k) {
			unknown = append(unknown, k)
		}
	}
	var before, since []Entry
	for _, e := range made[name] {
		if e.Minted.After(until) {
			since = append(since, e)
			continue
		}
		before = append(before, e)
	}
	return Good(before, listed), unknown, Good(since, listed), nil
}

// ofAnother says that a key belongs to another fleet at the same Headscale, whose tags may
// be the same. If Headscale names no user, that is not known.
func ofAnother(f *fleet.Fleet, k headscale.Key) bool {
	return k.User != nil && k.User.Name != "" && k.User.Name != f.Cluster.Headscale.User
}

func sameTags(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// Good are the listed keys that are among made and with which a node can join.
func Good(made []Entry, listed []headscale.Key) (out []headscale.Key) {
	for _, k := range listed {
		if IsOf(made, k) && canJoin(k) {
			out = append(out, k)
		}
	}
	return out
}

// Forgotten says that the server does not know the last key that was made for a node, though it
// has not expired: the server's database is from before it was made, or the node was deleted
// with it (Headscale 0.28 and newer).
func Forgotten(made []Entry, listed []headscale.Key, now time.Time) bool {
	if len(made) == 0 {
		return false
	}
	last := made[len(made)-1]
	return last.Expires.After(now) && !slices.ContainsFunc(listed, last.is)
}

// canJoin says that a key is unused and not expired.
func canJoin(k headscale.Key) bool { return !k.Used && k.Expiration.After(time.Now()) }

// ExpireAll expires keys. A failure does not stop the others from being expired. A key that
// is gone already is no error.
func ExpireAll(ctx context.Context, server Keyring, keys []headscale.Key) (failed error) {
	for _, k := range keys {
		if err := server.ExpireKey(ctx, k); err != nil && !errors.Is(err, headscale.ErrNotFound) {
			failed = errors.Join(failed, fmt.Errorf("number %s stays valid until %s: %w", k.ID, k.Expiration.Format(time.DateTime), err))
		}
	}
	return failed
}
