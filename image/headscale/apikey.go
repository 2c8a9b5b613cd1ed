package headscale

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// APIKeyEnds returns when this client's API key expires: the zero time if it never does, or
// the server does not list it.
func (c *Client) APIKeyEnds(ctx context.Context) (time.Time, error) {
	var out struct {
		Keys []struct {
			Prefix     string     `json:"prefix"`
			Expiration *time.Time `json:"expiration"`
		} `json:"apiKeys"`
	}
	if err := c.call(ctx, http.MethodGet, "/api/v1/apikey", nil, &out); err != nil {
		return time.Time{}, err
	}
	for _, k := range out.Keys {
		if c.bears(k.Prefix) {
			return deref(k.Expiration), nil
		}
	}
	return time.Time{}, nil
}

// bears compares the client's key with what a server shows of a key: up to 0.27 the part of
// PREFIX.SECRET before the dot; since then PREFIX***, or hskey-api-PREFIX-*** for keys in
// the new format.
func (c *Client) bears(shown string) bool {
	begin := strings.TrimSuffix(strings.TrimSuffix(shown, "***"), "-")
	rest, found := strings.CutPrefix(c.key.Reveal(), begin)
	return found && begin != "" && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "-"))
}
