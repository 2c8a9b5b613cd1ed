package mint

import (
	"context"
	"errors"
	"fmt"
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

// Unused are the keys that were made for a node, until then and none after, with which
// somebody could still join.
func Unused(ctx context.Context, f *fleet.Fleet, server Keyring, name string, until time.Time) (out []headscale.Key, err error) {
	made, err := Keys(f)
	if err != nil {
		return nil, err
	}
	ours := slices.DeleteFunc(made[name], func(e Entry) bool { return e.Minted.After(until) })
	if len(ours) == 0 {
		return nil, nil
	}
	listed, err := server.ListKeys(ctx)
	if err != nil {
		return nil, err
	}
	return Good(ours, listed), nil
}

// Good are those of the keys that Headscale lists that are of these, and with which somebody
// can join.
func Good(made []Entry, listed []headscale.Key) (out []headscale.Key) {
	for _, k := range listed {
		if IsOf(made, k) && !k.Used && k.Expiration.After(time.Now()) {
			out = append(out, k)
		}
	}
	return out
}

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
