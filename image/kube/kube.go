// Package kube is a small client of a cluster's API (kubernetes.io, "Kubernetes API
// Concepts"). It has what is needed to remove a dead node and to drain a live one.
//
// It authenticates with a certificate that was made at home, and trusts only servers whose
// certificate the cluster's own authority has signed. A request that fails is not repeated,
// except where Longhorn may need time to see that a node is gone (ForgetStorage). It waits until
// what it deleted is gone.
package kube

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/image/clusterca"
)

// Way is one address at which a server may be reached.
type Way struct {
	Server  string // its name, for people
	Address string // HOST:PORT
}

// Client talks to one server.
type Client struct {
	http *http.Client
	way  Way
}

// certName is in the certificate of every k3s server (pkg/cluster/https.go),
// whatever address leads to it.
const certName = "kubernetes"

// Access is what the API and the client authenticate each other with.
type Access struct {
	CA    []byte // PEM, the authority of the servers' certificates
	Admin clusterca.Pair
}

// ErrSilent means that no server's API is ready.
var ErrSilent = errors.New("the cluster's API answers at none of its servers")

// readyTime bounds the search for a server over all ways together.
const readyTime = 15 * time.Second

// idleTime is how long an unused connection stays open: a rollout waits for minutes, and
// opens clients again and again.
const idleTime = time.Minute

// port is the port of the API on k3s servers.
const port = "6443"

// WaysTo returns the ways to a server: by its name, if this computer resolves the tailnet's
// names, and by its addresses there.
func WaysTo(server string, addresses ...netip.Addr) []Way {
	all := []Way{{server, net.JoinHostPort(server, port)}}
	for _, a := range addresses {
		all = append(all, Way{server, net.JoinHostPort(a.String(), port)})
	}
	return all
}

// AdminLife is how long a client from Open is valid. A certificate that grants everything
// should not be valid for longer.
const AdminLife = time.Hour

// Open is Connect for the owner, who has the cluster's authorities.
func Open(ctx context.Context, id clusterca.Files, ways []Way) (*Client, error) {
	admin, err := id.Admin("owner", time.Now(), AdminLife, rand.Reader)
	if err != nil {
		return nil, err
	}
	return Connect(ctx, Access{CA: id.ServerCA(), Admin: admin}, ways)
}

// Connect tries all ways at once and returns a client of the first server whose API is
// ready.
func Connect(ctx context.Context, a Access, ways []Way) (*Client, error) {
	pair, err := tls.X509KeyPair(a.Admin.Cert, a.Admin.Key)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(a.CA) {
		return nil, errors.New("the cluster's authority is no certificate in PEM form")
	}
	conf := &tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{pair}, ServerName: certName}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	clients, faults := make([]*Client, len(ways)), make([]error, len(ways))
	tried := make(chan int, len(ways))
	for i, w := range ways {
		clients[i] = &Client{&http.Client{Transport: &http.Transport{TLSClientConfig: conf, IdleConnTimeout: idleTime}}, w}
		go func() {
			faults[i] = clients[i].ready(ctx)
			tried <- i
		}()
	}
	var first *Client
	for range ways {
		i := <-tried
		if first == nil && faults[i] == nil {
			first = clients[i]
			cancel()
			continue
		}
		clients[i].http.CloseIdleConnections()
	}
	if first != nil {
		return first, nil
	}
	return nil, fmt.Errorf("%w\n%w", ErrSilent, listed(ways, faults))
}

func listed(ways []Way, faults []error) error {
	var out []error
	for i, w := range ways {
		out = append(out, fmt.Errorf("  %s at %s: %w", w.Server, w.Address, faults[i]))
	}
	return errors.Join(out...)
}

func (c *Client) ready(ctx context.Context) error {
	found, err := c.call(ctx, http.MethodGet, "/readyz")
	if err == nil && !found {
		return errors.New("it has no API")
	}
	return err
}

// hasNode looks for a node.
func (c *Client) hasNode(ctx context.Context, name string) (bool, error) {
	return c.call(ctx, http.MethodGet, nodePath(name))
}

// goneTime bounds the wait for a deleted node to disappear: k3s keeps a server's node, by a
// finalizer, until etcd has removed its member (pkg/etcd/member_controller.go).
const goneTime = 2 * time.Minute

// DeleteNode removes a node, and returns when it is gone; then a server's etcd member is
// gone, too. A node that does not exist is no error.
func (c *Client) DeleteNode(ctx context.Context, name string) error {
	if _, err := c.call(ctx, http.MethodDelete, nodePath(name)); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, goneTime)
	defer cancel()
	for {
		found, err := c.hasNode(waiting, name)
		switch {
		case err == nil && !found:
			return nil
		case ctx.Err() != nil: // the caller's context ended, not goneTime
			return fmt.Errorf("node %s is deleted, nobody waited for it to be gone: %w", name, ctx.Err())
		case waiting.Err() != nil:
			return fmt.Errorf("node %s is deleted, but not gone after %v: etcd has not let its member go (journalctl -u k3s on %s says why)", name, goneTime, c.way.Server)
		case err != nil:
			return err
		}
		ctxio.Sleep(waiting, 500*time.Millisecond) // the loop looks whether waiting ended
	}
}

// HasSecret says whether a Secret exists. The Secret's data are not transferred.
func (c *Client) HasSecret(ctx context.Context, namespace, name string) (bool, error) {
	return c.call(ctx, http.MethodGet, secretPath(namespace, name))
}

// DeleteSecret removes a Secret. A Secret that does not exist is no error.
func (c *Client) DeleteSecret(ctx context.Context, namespace, name string) error {
	_, err := c.call(ctx, http.MethodDelete, secretPath(namespace, name))
	return err
}

func nodePath(name string) string { return "/api/v1/nodes/" + url.PathEscape(name) }

func secretPath(namespace, name string) string {
	return "/api/v1/namespaces/" + url.PathEscape(namespace) + "/secrets/" + url.PathEscape(name)
}

const (
	callTime  = 30 * time.Second
	maxAnswer = 4 << 20 // in bytes; a Node with hundreds of images has some 100 KB
)

// accept asks for an object's metadata only (kubernetes.io, "Receiving resources as Tables",
// PartialObjectMetadata), so that a Secret's data are not sent. Other answers are plain
// JSON.
const accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

// Refusal is an error answer of the API.
type Refusal struct {
	Status int
	Words  string
}

func (r *Refusal) Error() string { return fmt.Sprintf("the API answers %d: %s", r.Status, r.Words) }

// webhook is how the API begins when one of the cluster's programs forbids something, and
// not the API itself.
const webhook = "admission webhook "

// unlessNotFound returns err, or nil if it is the API's answer that the object does not exist.
func unlessNotFound(err error) error {
	if refused := (*Refusal)(nil); errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// call reports whether the object exists. It reads nothing of an answer except a refusal's
// message.
func (c *Client) call(ctx context.Context, method, path string) (found bool, err error) {
	_, err = c.exchange(ctx, method, path, accept, "", nil)
	return err == nil, unlessNotFound(err)
}

// exchange sends body (nil for none) with the content type kind, and returns the answer in
// the format accept.
func (c *Client) exchange(ctx context.Context, method, path, accept, kind string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+c.way.Address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, plain(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden && !strings.HasPrefix(words(data), webhook):
		return nil, errors.New("it does not take the certificate made at home: are the authorities of this fleet (cluster: k3s: ca:) the cluster's?")
	case resp.StatusCode/100 != 2:
		return nil, &Refusal{resp.StatusCode, words(data)}
	}
	return data, nil
}

// plain explains a failed request, without the address, which the caller knows.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var stranger x509.UnknownAuthorityError
	var dns *net.DNSError
	switch {
	case errors.As(err, &stranger):
		return errors.New("who answers is no server of this cluster: the certificate is not of its authority")
	case errors.As(err, &dns):
		return errors.New("the name leads nowhere from here")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time")
	}
	return err
}

// words are the message of a Status, or else the beginning of the answer, in one line.
func words(data []byte) string {
	var status struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(data, &status) // not every answer is JSON
	return oneLine(cmp.Or(status.Message, string(data[:min(len(data), 300)])))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
