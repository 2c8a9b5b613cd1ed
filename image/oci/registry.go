package oci

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

// source is one repository at one registry: its addresses and its login.
type source struct {
	repo  name.Repository
	base  string // such as https://registry.example.net/v2/team/app
	query string
	login *login
}

func (s *source) manifest(tagOrDigest string) string {
	return s.base + "/manifests/" + tagOrDigest + s.query
}

func (s *source) blob(digest string) string { return s.base + "/blobs/" + digest + s.query }

// RoundTrip uses the source's own login. A redirect to another host needs no login, but the
// same rules for TLS: a mirror may be on the registry's own host, without TLS.
func (s *source) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(s.base, req.URL.Scheme+"://"+req.URL.Host+"/") {
		return s.login.RoundTrip(req)
	}
	return s.login.base.RoundTrip(req)
}

// upstream returns the repository at the registry that the reference names.
func (p *puller) upstream(repo name.Repository) (*source, error) {
	auth, err := authn.DefaultKeychain.ResolveContext(context.Background(), repo)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s in docker's config: %w", repo.RegistryStr(), err)
	}
	return &source{
		repo: repo, base: base(repo),
		login: &login{repo: repo, auth: auth, base: &guard{inner: p.cache.Transport()}},
	}, nil
}

func base(repo name.Repository) string {
	return "https://" + repo.RegistryStr() + "/v2/" + repo.RepositoryStr()
}

// mirror returns the same repository at the mirror. As with containerd, the query parameter
// ns tells the mirror which registry is meant. The mirror's credentials are sent over TLS
// only.
func (p *puller) mirror(repo name.Repository, registry string) (*source, error) {
	u, err := parseMirror(p.opt.Mirror)
	if err != nil {
		return nil, err
	}
	plain := u.Scheme == "http"
	var opts []name.Option
	if plain {
		opts = append(opts, name.Insecure)
	}
	// NewRepository would take a host that is a single word for a part of a repository at
	// Docker Hub: it recognizes a registry only by a dot, a colon, or the name localhost.
	at, err := name.NewRepository("localhost/"+strings.Trim(u.Path+"/"+repo.RepositoryStr(), "/"), opts...)
	if err == nil {
		at.Registry, err = name.NewRegistry(u.Host, opts...)
	}
	if err != nil {
		return nil, fmt.Errorf("registry mirror: %w", err)
	}
	auth := authn.Anonymous
	if !plain {
		if auth, err = authn.DefaultKeychain.ResolveContext(context.Background(), at); err != nil {
			return nil, fmt.Errorf("credentials for %s in docker's config: %w", at.RegistryStr(), err)
		}
	}
	return &source{
		repo: at, base: u.Scheme + "://" + u.Host + "/v2/" + at.RepositoryStr(), query: "?ns=" + url.QueryEscape(registry),
		login: &login{repo: at, auth: auth, base: &guard{inner: p.cache.Transport(), plain: plain}},
	}, nil
}

// CheckMirror returns what is wrong with the address of a mirror; "" is allowed.
func CheckMirror(base string) error {
	if base == "" {
		return nil
	}
	_, err := parseMirror(base)
	return err
}

func parseMirror(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("registry mirror: want an address like https://mirror.example.net, or with a path that comes before every repository's, without a password (docker's config has those)")
	}
	return u, nil
}

// login finds out once which authentication a registry demands for a repository, and adds
// it to every request.
type login struct {
	repo name.Repository
	auth authn.Authenticator
	base *guard

	mu    sync.Mutex
	inner http.RoundTripper
}

// accepted are the media types of manifests that containerd reads.
var accepted = []string{
	string(types.OCIImageIndex), string(types.DockerManifestList), string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
}

// RoundTrip turns the refusal of a token server into a response with its status, as if the
// registry had sent it: the status decides whether and when to try again.
func (l *login) RoundTrip(req *http.Request) (*http.Response, error) {
	// The login is added to a copy: the caller reuses its own request's headers when it
	// follows a redirect.
	req = req.Clone(req.Context())
	if strings.Contains(req.URL.Path, "/manifests/") {
		req.Header["Accept"] = accepted
	}
	inner, err := l.open(req.Context())
	var resp *http.Response
	if err == nil {
		resp, err = inner.RoundTrip(req)
	}
	var refused *transport.Error
	if errors.As(err, &refused) && refused.StatusCode >= 400 {
		return l.base.answer(req, refused.StatusCode), nil
	}
	return resp, err
}

func (l *login) open(ctx context.Context) (http.RoundTripper, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner != nil {
		return l.inner, nil
	}
	inner, err := transport.NewWithContext(ctx, l.repo.Registry, l.auth, l.base, []string{l.repo.Scope(transport.PullScope)})
	if err == nil {
		l.inner = inner
	}
	return inner, err
}

// guard prevents package transport from sending anything in clear text: that package tries
// plain HTTP with every registry on a private address, whatever error HTTPS returned. Plain
// HTTP is allowed only for a mirror that was given as http://, since none of its content is
// trusted, and for a registry on this computer, where nobody is in between.
type guard struct {
	inner http.RoundTripper
	plain bool

	mu    sync.Mutex
	after string // the last Retry-After
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !g.plain && !loopback(req.URL.Hostname()) {
		err := fmt.Errorf("%s is not asked without TLS", req.URL.Host)
		if req.URL.Path == "/v2/" { // the second try of a ping; the error of the first one is reported
			return nil, err
		}
		return nil, fetch.Permanent(err)
	}
	resp, err := g.inner.RoundTrip(req)
	if withoutTLS(err) && !g.plain && !loopback(req.URL.Hostname()) {
		return nil, fetch.Permanent(fmt.Errorf("%s offers no TLS: give it some; or write the image's digest, and 'imagebuilder build --registry-mirror http://%s'", req.URL.Host, req.URL.Host))
	}
	if err == nil && resp.Header.Get("Retry-After") != "" {
		g.mu.Lock()
		g.after = resp.Header.Get("Retry-After")
		g.mu.Unlock()
	}
	return resp, err
}

// withoutTLS reports whether a server answered HTTPS with plain HTTP.
func withoutTLS(err error) bool {
	var header tls.RecordHeaderError
	return errors.As(err, &header) && string(header.RecordHeader[:]) == "HTTP/"
}

func (g *guard) answer(req *http.Request, status int) *http.Response {
	g.mu.Lock()
	defer g.mu.Unlock()
	resp := &http.Response{
		Status: fmt.Sprint(status, " ", http.StatusText(status)), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: req,
	}
	resp.Header.Set("Retry-After", g.after)
	g.after = ""
	return resp
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
