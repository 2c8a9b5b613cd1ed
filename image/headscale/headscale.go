// Package headscale is a small client of Headscale's REST API, for versions 0.26 to 0.29,
// and for what is known of 0.30.
//
// It handles the differences between them: numbers sent as strings, fields that moved,
// parameters that came and went. It does not trust an empty success: where a server silently
// ignores a request, the client looks up the result. It never retries; keys never appear in
// its errors.
package headscale

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// Client talks to one server.
type Client struct {
	base    string
	key     secret.String
	http    *http.Client
	renewal string
}

// New returns a client for the server at base, such as https://headscale.example.net, with
// an API key. ca holds PEM certificates to trust besides the system's, "" for none.
func New(base string, apiKey secret.String, ca string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("headscale: want an address like https://headscale.example.net")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if ca != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("headscale: %w", err)
		}
		if !pool.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("headscale: its CA holds no certificate in PEM form")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &Client{base: strings.TrimSuffix(base, "/"), key: apiKey, http: &http.Client{Timeout: 30 * time.Second, Transport: transport},
		renewal: "make one with: headscale apikeys create"}, nil
}

// Renewal sets the words that tell, in the error for an invalid API key, how to make another
// one.
func (c *Client) Renewal(words string) { c.renewal = words }

// DialAt makes the client connect to host, and to port unless that is "", in place of the
// server's address, for instance before its name resolves there. Certificates are still
// checked against the name. No proxy is used: DialContext would apply to the proxy, too, and
// the proxy would be asked for a name that leads nowhere yet.
func (c *Client) DialAt(host, port string) {
	transport := c.http.Transport.(*http.Transport)
	transport.Proxy = nil
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		_, own, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(host, cmp.Or(port, own)))
	}
}

// ErrUnauthorized means that the server does not accept the API key.
var ErrUnauthorized = errors.New("the API key is not valid")

// ErrNotFound means that the server does not have the object, or is too old for the request.
var ErrNotFound = errors.New("not found")

// APIError is any other refusal, with the server's message.
type APIError struct {
	Status  int // HTTP status code
	Message string
}

func (e *APIError) Error() string { return fmt.Sprintf("server answers %d: %s", e.Status, e.Message) }

// maxAnswer bounds the size of an answer, in bytes.
const maxAnswer = 16 << 20

// call sends in (nil for none) as JSON and decodes the answer into out (nil
// for none).
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	err := c.exchange(ctx, method, path, in, out)
	if errors.Is(err, ErrUnauthorized) {
		err = fmt.Errorf("%w (%s)", err, c.renewal)
	}
	if err != nil {
		return fmt.Errorf("headscale: %s %s: %w", method, plainPath(path), err)
	}
	return nil
}

func (c *Client) exchange(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // it contains the whole address
			return u.Err
		}
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	return decode(resp.StatusCode, data, out)
}

func decode(status int, data []byte, out any) error {
	if status != http.StatusOK {
		return refusal(status, data)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the answer is not Headscale's: %w", err)
	}
	return nil
}

// refusal makes an error of an answer: {"code":…,"message":…}, from 0.30 on RFC 7807's
// {"title":…,"detail":…} with causes in "errors", or text. 0.26 answers nearly every error
// with 500.
func refusal(status int, data []byte) error {
	var m struct {
		Message string `json:"message"`
		Title   string `json:"title"`
		Detail  string `json:"detail"`
		Errors  []struct{ Message, Location string }
	}
	_ = json.Unmarshal(data, &m) // not every answer is JSON
	words := cmp.Or(m.Message, m.Detail, m.Title, strings.TrimSpace(string(data[:min(len(data), 200)])))
	for _, e := range m.Errors {
		if cause := strings.TrimSpace(e.Message + " " + e.Location); cause != words {
			words += ": " + cause
		}
	}
	old := func(text string) bool { return status == http.StatusInternalServerError && words == text }
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, old("Unauthorized"):
		return ErrUnauthorized
	case status == http.StatusNotFound, status == http.StatusNotImplemented, old("record not found"):
		return fmt.Errorf("%w: %s", ErrNotFound, words)
	}
	return &APIError{status, words}
}

// plainPath leaves the query out of errors, as it may contain keys.
func plainPath(path string) string {
	p, _, _ := strings.Cut(path, "?")
	return p
}

// ID is a number that the server sends as a string or as a number.
type ID string

// UnmarshalJSON accepts both forms.
func (i *ID) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" {
		s = ""
	}
	if strings.Trim(s, "0123456789") != "" {
		return fmt.Errorf("%q is no id", s)
	}
	*i = ID(s)
	return nil
}

// User owns nodes and keys.
type User struct {
	ID   ID     `json:"id"`
	Name string `json:"name"`
}

// Users lists all users.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	var out struct {
		Users []User `json:"users"`
	}
	err := c.call(ctx, http.MethodGet, "/api/v1/user", nil, &out)
	return out.Users, err
}

// CreateUser creates a user, or returns the existing one of that name: the server's error
// for a duplicate differs between versions.
func (c *Client) CreateUser(ctx context.Context, name string) (User, error) {
	var out struct {
		User User `json:"user"`
	}
	err := c.call(ctx, http.MethodPost, "/api/v1/user", map[string]string{"name": name}, &out)
	if err == nil {
		return out.User, nil
	}
	users, lerr := c.Users(ctx)
	if lerr != nil {
		return User{}, err
	}
	for _, u := range users {
		if u.Name == name {
			return u, nil
		}
	}
	return User{}, err
}

// PolicyCheck has the server validate a policy. ErrNotFound means that the server is too old
// for that (before 0.29).
func (c *Client) PolicyCheck(ctx context.Context, policy string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/policy/check", map[string]string{"policy": policy}, nil)
}

// SetPolicy replaces the server's policy, whatever it is. A server that reads its policy from
// a file refuses (ErrPolicyInFile). Before 0.29 there are no node attributes: the
// policy is then set without them, and withoutAttrs is true.
func (c *Client) SetPolicy(ctx context.Context, policy string) (withoutAttrs bool, err error) {
	err = c.setPolicy(ctx, policy)
	var api *APIError
	if !errors.As(err, &api) || !strings.Contains(api.Message, `unknown field "`+attrsField+`"`) {
		return false, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(policy), &fields); err != nil {
		return false, err
	}
	delete(fields, attrsField)
	plain, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		return false, err
	}
	return true, c.setPolicy(ctx, string(plain))
}

const attrsField = "nodeAttrs"

func (c *Client) setPolicy(ctx context.Context, policy string) error {
	return inFile(c.call(ctx, http.MethodPut, "/api/v1/policy", map[string]string{"policy": policy}, nil))
}
