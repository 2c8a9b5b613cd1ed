package oci

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

// lan is a network on which nobody speaks TLS: it counts what was said in clear
// text. A real one would need an address that package name takes for the LAN's,
// which not every machine has.
type lan struct{ plain int }

func (l *lan) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" {
		l.plain++
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
	}
	return nil, errors.New("http: server gave HTTP response to HTTPS client")
}

// TestWithoutTLS: a registry on the LAN that speaks no TLS is refused, before
// anything is asked of it.
func TestWithoutTLS(t *testing.T) {
	cache, err := fetch.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPuller(cache, Options{Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := name.NewRepository("192.168.7.7:5000/app")
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.upstream(repo)
	if err != nil {
		t.Fatal(err)
	}
	net := &lan{}
	s.login.base.inner = net
	req, err := http.NewRequest(http.MethodGet, s.manifest("v1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.login.RoundTrip(req); err == nil || !strings.Contains(err.Error(), "offers no TLS") || net.plain > 0 {
		t.Errorf("asked %d times: %v", net.plain, err)
	}
}
