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

// Keyring is what Headscale does with keys.
type Keyring interface {
	ListKeys(context.Context) ([]headscale.Key, error)
	ExpireKey(context.Context, headscale.Key) error
}

// Unused are the keys with which somebody could still join in the place of a node: those
// that were made for it, and those with just its tags that the book has of no node, as a
// book does that is older than they are. None is younger than until.
func Unused(ctx context.Context, f *fleet.Fleet, server Keyring, name string, until time.Time) (ours, unknown []headscale.Key, err error) {
	n, err := f.Find(name)
	if err != nil {
		return nil, nil, err
	}
	made, err := Keys(f)
	if err != nil {
		return nil, nil, err
	}
	listed, err := server.ListKeys(ctx)
	if err != nil {
		return nil, nil, err
	}
	all := slices.Concat(slices.Collect(maps.Values(made))...)
	for _, k := range listed {
		if !IsOf(all, k) && canJoin(k) && sameTags(k.Tags, n.Tags()) && !k.CreatedAt.After(until) && !ofAnother(f, k) {
			unknown = append(unknown, k)
		}
	}
	theirs := slices.DeleteFunc(made[name], func(e Entry) bool { return e.Minted.After(until) })
	return Good(theirs, listed), unknown, nil
}

// ofAnother says that a key is that of another fleet at this Headscale, whose tags may be
// the same. Where Headscale names no user nobody knows.
func ofAnother(f *fleet.Fleet, k headscale.Key) bool {
	return k.User != nil && k.User.Name != "" && k.User.Name != f.Cluster.Headscale.User
}

func sameTags(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// Good are those of the keys that Headscale lists that are of these, and with which somebody
// can join.
func Good(made []Entry, listed []headscale.Key) (out []headscale.Key) {
	for _, k := range listed {
		if IsOf(made, k) && canJoin(k) {
			out = append(out, k)
		}
	}
	return out
}

// canJoin says that somebody can join with a key.
func canJoin(k headscale.Key) bool { return !k.Used && k.Expiration.After(time.Now()) }

// ExpireAll ends keys: one that cannot be ended keeps the others from nothing, and one
// that is gone is no error.
func ExpireAll(ctx context.Context, server Keyring, keys []headscale.Key) (failed error) {
	for _, k := range keys {
		if err := server.ExpireKey(ctx, k); err != nil && !errors.Is(err, headscale.ErrNotFound) {
			failed = errors.Join(failed, fmt.Errorf("number %s stays valid until %s: %w", k.ID, k.Expiration.Format(time.DateTime), err))
		}
	}
	return failed
}
