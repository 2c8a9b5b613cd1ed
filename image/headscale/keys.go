package headscale

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// Key is a pre-auth key, with which a node joins. Only CreateKey returns its whole text.
type Key struct {
	ID         ID            `json:"id"`
	Key        secret.String `json:"key"`
	User       *User         `json:"user"`
	Used       bool          `json:"used"`
	Expiration time.Time     `json:"expiration"`
	CreatedAt  time.Time     `json:"createdAt"`
	Tags       []string      `json:"aclTags"`
}

// KeyRequest says what key to make.
type KeyRequest struct {
	User    ID // may be empty with tags, from 0.28
	Tags    []string
	Expires time.Time // required: Headscale would make a key that has expired already
}

// CreateKey makes a single-use key.
func (c *Client) CreateKey(ctx context.Context, r KeyRequest) (Key, error) {
	if r.Expires.IsZero() {
		return Key{}, fmt.Errorf("headscale: a key needs the time it expires")
	}
	for _, t := range r.Tags {
		if !strings.HasPrefix(t, "tag:") || t == "tag:" {
			return Key{}, fmt.Errorf("headscale: tag %q must begin with \"tag:\"", t)
		}
	}
	in := map[string]any{
		"reusable": false, "ephemeral": false,
		"expiration": r.Expires.UTC().Format(time.RFC3339),
		"aclTags":    append([]string{}, r.Tags...),
	}
	if r.User != "" {
		in["user"] = string(r.User)
	}
	var out struct {
		Key Key `json:"preAuthKey"`
	}
	if err := c.call(ctx, http.MethodPost, "/api/v1/preauthkey", in, &out); err != nil {
		return Key{}, err
	}
	k := out.Key
	if k.Key.Empty() || k.ID == "" {
		return Key{}, fmt.Errorf("headscale: the server answered without a key")
	}
	if !k.Expiration.IsZero() && k.Expiration.Before(r.Expires.Add(-time.Minute)) {
		return k, fmt.Errorf("headscale: the server made a key that expires %s", k.Expiration.Format(time.RFC3339))
	}
	return k, nil
}

// ListKeys lists all keys. Versions before 0.28 list them per user only, so the lists of all
// users are combined.
func (c *Client) ListKeys(ctx context.Context) ([]Key, error) {
	all, err := c.listKeys(ctx, "")
	if err == nil && len(all) > 0 {
		return all, nil
	}
	users, uerr := c.Users(ctx)
	if uerr != nil {
		return nil, uerr
	}
	for _, u := range users {
		keys, kerr := c.listKeys(ctx, "?user="+url.QueryEscape(string(u.ID)))
		if kerr != nil {
			return nil, kerr
		}
		for _, k := range keys {
			if !slices.ContainsFunc(all, func(have Key) bool { return have.ID == k.ID }) {
				all = append(all, k)
			}
		}
	}
	return all, nil
}

func (c *Client) listKeys(ctx context.Context, query string) ([]Key, error) {
	var out struct {
		Keys []Key `json:"preAuthKeys"`
	}
	err := c.call(ctx, http.MethodGet, "/api/v1/preauthkey"+query, nil, &out)
	return out.Keys, err
}

// findKey returns the listed key with an ID, ErrNotFound if there is none.
func (c *Client) findKey(ctx context.Context, id ID) (Key, error) {
	keys, err := c.ListKeys(ctx)
	if err != nil {
		return Key{}, err
	}
	for _, k := range keys {
		if k.ID == id {
			return k, nil
		}
	}
	return Key{}, fmt.Errorf("headscale: key %s: %w", id, ErrNotFound)
}

func (c *Client) expire(ctx context.Context, in map[string]string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/preauthkey/expire", in, nil)
}

// ExpireKey expires a key. The server accepts anything (0.29 answers 200 for an unknown ID),
// so the key is looked up before and after. Its expiry must have moved: if this computer's
// clock is slow, an expired key may still look valid. k needs its ID. 0.27 and older also
// need its user and text, which 0.30 rejects.
func (c *Client) ExpireKey(ctx context.Context, k Key) error {
	before, err := c.findKey(ctx, k.ID)
	if err != nil {
		return err
	}
	in := map[string]string{"id": string(k.ID)}
	if k.User != nil {
		in["user"] = string(k.User.ID)
	}
	if !k.Key.Empty() {
		in["key"] = k.Key.Reveal()
	}
	err = c.expire(ctx, in)
	var api *APIError
	if errors.As(err, &api) && api.Status == http.StatusUnprocessableEntity {
		err = c.expire(ctx, map[string]string{"id": string(k.ID)})
	}
	if err != nil {
		return err
	}
	now, err := c.findKey(ctx, k.ID)
	if err != nil {
		return err
	}
	if !now.Expiration.Before(before.Expiration) && now.Expiration.After(time.Now().Add(time.Minute)) {
		return fmt.Errorf("headscale: the server accepted, but key %s is still valid until %s", k.ID, now.Expiration.Format(time.RFC3339))
	}
	return nil
}
