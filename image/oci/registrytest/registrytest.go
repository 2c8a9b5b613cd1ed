// Package registrytest runs a registry of container images in the test's process, over TLS,
// with an optional login and faults.
package registrytest

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TrustFile writes the certificate of all httptest servers to a file in dir and returns its
// name, for SSL_CERT_FILE: of this process before its first connection, or of another
// process.
func TrustFile(dir string) string {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o644); err != nil {
		panic(err)
	}
	return file
}

// Main runs a package's tests with that certificate trusted and without anybody's
// credentials.
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "registrytest")
	if err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", TrustFile(dir))
	os.Setenv("HOME", dir)
	os.Unsetenv("DOCKER_CONFIG")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// Registry is a running registry. Set its fields before the first request.
type Registry struct {
	Host   string // with port
	server *httptest.Server

	// User and Password, if set, are required: as basic login or, with Token, from a token
	// server that is also here.
	User, Password string
	Token          string
	// Fault answers instead of the registry if it returns true.
	Fault func(w http.ResponseWriter, r *http.Request) bool

	mu   sync.Mutex
	seen []string
}

// Start starts a registry, with or without TLS.
func Start(t testing.TB, tls bool) *Registry {
	t.Helper()
	g := &Registry{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Push") == "" { // not one of the test's own pushes
			g.mu.Lock()
			g.seen = append(g.seen, r.Method+" "+r.URL.RequestURI())
			g.mu.Unlock()
			if g.Fault != nil && g.Fault(w, r) || !g.admit(w, r) {
				return
			}
		}
		inner.ServeHTTP(w, r)
	})
	if tls {
		g.server = httptest.NewTLSServer(handler)
	} else {
		g.server = httptest.NewServer(handler)
	}
	t.Cleanup(g.server.Close)
	g.Host = strings.TrimPrefix(strings.TrimPrefix(g.server.URL, "https://"), "http://")
	return g
}

// URL is the registry's base address.
func (g *Registry) URL() string { return g.server.URL }

// Seen returns the requests since the last call.
func (g *Registry) Seen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	seen := g.seen
	g.seen = nil
	return seen
}

func (g *Registry) admit(w http.ResponseWriter, r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	known := g.User == "" || ok && user == g.User && password == g.Password
	switch {
	case r.URL.Path == "/token":
		if !known {
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]}`, http.StatusUnauthorized)
			return false
		}
		fmt.Fprintf(w, `{"token":%q}`, g.Token)
		return false
	case g.Token != "" && r.Header.Get("Authorization") != "Bearer "+g.Token:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="registrytest"`, g.server.URL))
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		return false
	case g.Token == "" && !known:
		w.Header().Set("WWW-Authenticate", `Basic realm="registrytest"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		return false
	}
	return true
}

// Login puts credentials for the registry into docker's configuration for this test.
func (g *Registry) Login(t testing.TB, user, password string) {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, g.Host, user, password)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.(interface{ Setenv(k, v string) }).Setenv("DOCKER_CONFIG", dir)
}

// Image makes an image of layers with size random bytes each, which depend only on seed.
// All images have the same first layer.
func Image(t testing.TB, seed, size int64, layers int, arch string) v1.Image {
	t.Helper()
	img := empty.Image
	for i := range layers {
		source := rand.NewSource(seed*1000 + int64(i))
		if i == 0 {
			source = rand.NewSource(0)
		}
		l, err := random.Layer(size, types.OCILayer, random.WithSource(source))
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Config.Env = "linux", arch, []string{fmt.Sprint("SEED=", seed)}
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	return mutate.MediaType(img, types.OCIManifestSchema1)
}

// Index makes an index like those that builders push: images for amd64 and arm64, one for
// another architecture, and an attestation.
func Index(t testing.TB, seed, size int64, layers int) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, p := range []v1.Platform{{OS: "linux", Architecture: "s390x"}, {OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64", Variant: "v8"}, {OS: "unknown", Architecture: "unknown"}} {
		img := Image(t, seed+100*int64(i), size, layers, p.Architecture)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	return index
}

// Push pushes an image or an index under a name such as team/app:v1. It returns the
// reference and the digest.
func (g *Registry) Push(t testing.TB, at string, what remote.Taggable) (ref, digest string) {
	t.Helper()
	tag, err := name.NewTag(g.Host + "/" + at)
	if err != nil {
		t.Fatal(err)
	}
	opts := []remote.Option{remote.WithTransport(pushing{g.server.Client().Transport}), remote.WithAuth(authn.Anonymous)}
	switch w := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(tag, w, opts...)
	case v1.Image:
		err = remote.Write(tag, w, opts...)
	default:
		err = remote.Put(tag, w, opts...)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(tag, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return tag.Name(), d.Digest.String()
}

// pushing marks the test's own requests.
type pushing struct{ http.RoundTripper }

func (p pushing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Push", "1")
	return p.RoundTripper.RoundTrip(r)
}
