package headscale

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// Node is a machine in the tailnet.
type Node struct {
	ID ID
	// Name is the machine's own host name. GivenName is the name that the server made of it:
	// unique, with a number appended if the name was taken.
	Name      string
	GivenName string
	Addresses []netip.Addr
	Tags      []string
	User      string // "tagged-devices" for a tagged node
	Online    bool
	Created   time.Time // when it first joined
	LastSeen  time.Time
	Expiry    time.Time // zero: never
	// KeyID is the key with which the node joined. It tells which of our keys became which
	// node.
	KeyID ID
}

// UnmarshalJSON reads the form of any version: 0.28 merged forcedTags and validTags into
// tags.
func (n *Node) UnmarshalJSON(b []byte) error {
	var raw struct {
		ID         ID         `json:"id"`
		Name       string     `json:"name"`
		GivenName  string     `json:"givenName"`
		IPs        []string   `json:"ipAddresses"`
		Tags       []string   `json:"tags"`
		ForcedTags []string   `json:"forcedTags"`
		ValidTags  []string   `json:"validTags"`
		User       *User      `json:"user"`
		Online     bool       `json:"online"`
		CreatedAt  *time.Time `json:"createdAt"`
		LastSeen   *time.Time `json:"lastSeen"`
		Expiry     *time.Time `json:"expiry"`
		Key        *Key       `json:"preAuthKey"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*n = Node{ID: raw.ID, Name: raw.Name, GivenName: raw.GivenName, Online: raw.Online,
		Created: deref(raw.CreatedAt), LastSeen: deref(raw.LastSeen), Expiry: deref(raw.Expiry)}
	for _, s := range raw.IPs {
		if ip, err := netip.ParseAddr(s); err == nil {
			n.Addresses = append(n.Addresses, ip)
		}
	}
	n.Tags = slices.Concat(raw.Tags, raw.ForcedTags, raw.ValidTags)
	slices.Sort(n.Tags)
	n.Tags = slices.Compact(n.Tags)
	if raw.User != nil {
		n.User = raw.User.Name
	}
	if raw.Key != nil {
		n.KeyID = raw.Key.ID
	}
	return nil
}

func deref(t *time.Time) time.Time {
	if t == nil || t.Year() <= 1 {
		return time.Time{}
	}
	return *t
}

// Nodes lists all nodes. It does not ask for one user's nodes, as tagged nodes are missing
// from such a list.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var out struct {
		Nodes []Node `json:"nodes"`
	}
	err := c.call(ctx, http.MethodGet, "/api/v1/node", nil, &out)
	return out.Nodes, err
}

// DeleteNode removes a node from the tailnet.
func (c *Client) DeleteNode(ctx context.Context, id ID) error {
	return c.call(ctx, http.MethodDelete, "/api/v1/node/"+string(id), nil, nil)
}
