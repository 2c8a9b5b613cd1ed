package oci

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
)

// lan is a network with a registry at 192.168.7.7:5000: it counts what was said
// in clear text. A real one would need an address that package name takes for
// the LAN's, which not every machine has.
type lan struct {
	blob   string  // what every path has, but the ping
	secure []error // of HTTPS, one after the other, the last one again and again
	moved  string  // where blobs are
	plain  int
}

// none is what the standard library says where HTTPS is answered by HTTP.
var none = tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake", RecordHeader: [5]byte{'H', 'T', 'T', 'P', '/'}}

func (l *lan) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" {
		l.plain++
	} else if err := l.secure[0]; err != nil {
		l.secure = l.secure[min(1, len(l.secure)-1):]
		return nil, err
	}
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}
	switch {
	case l.moved != "" && strings.Contains(req.URL.Path, "/blobs/"):
		resp.StatusCode = http.StatusTemporaryRedirect
		resp.Header.Set("Location", l.moved)
	case req.URL.Path != "/v2/":
		resp.ContentLength = int64(len(l.blob))
		if req.Method == http.MethodGet {
			resp.Body = io.NopCloser(strings.NewReader(l.blob))
		}
	}
	return resp, nil
}

const (
	text       = "hello"
	textDigest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
)

// ask fetches a blob of a registry on such a network.
func (l *lan) ask(t *testing.T, mirror string) error {
	t.Helper()
	cache, err := fetch.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	p, err := newPuller(cache, Options{Arch: "amd64", Mirror: mirror})
	if err != nil {
		t.Fatal(err)
	}
	r := reference.Reference{Name: "192.168.7.7:5000/app:v1"}
	list, err := p.of(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		s.login.base.inner = l
	}
	l.blob = text
	_, err = p.blob(t.Context(), r, textDigest, int64(len(text)), "")
	return err
}

// TestWithoutTLS: a registry on the LAN that speaks no TLS is refused, before
// anything is asked of it. What else HTTPS meets keeps its own words.
func TestWithoutTLS(t *testing.T) {
	for want, err := range map[string]error{
		"192.168.7.7:5000 offers no TLS: give it some; or write the image's digest, and 'imagebuilder build --registry-mirror http://192.168.7.7:5000'": none,
		"signed by unknown authority": &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
	} {
		net := &lan{secure: []error{err}}
		err := net.ask(t, "")
		if err == nil || !strings.Contains(err.Error(), want) || net.plain > 0 {
			t.Errorf("asked %d times: %v", net.plain, err)
		}
		if err != nil && strings.Contains(err.Error(), "offers no TLS") != strings.Contains(want, "offers no TLS") {
			t.Error(err)
		}
	}
}

// TestAResetIsNoVerdict: a connection that breaks off is tried again, over TLS.
func TestAResetIsNoVerdict(t *testing.T) {
	net := &lan{secure: []error{fmt.Errorf("read: %w", syscall.ECONNRESET), nil}}
	if err := net.ask(t, ""); err != nil || net.plain > 0 {
		t.Errorf("asked %d times in clear text: %v", net.plain, err)
	}
}

// TestAMirrorAtTheRegistrysHost is the advice of TestWithoutTLS, taken.
func TestAMirrorAtTheRegistrysHost(t *testing.T) {
	net := &lan{secure: []error{none}}
	if err := net.ask(t, "http://192.168.7.7:5000"); err != nil || net.plain == 0 {
		t.Errorf("asked %d times: %v", net.plain, err)
	}
}

// TestAMirrorIsWhereItIsSaidToBe: a mirror whose host is a single word is not mistaken for
// a repository at Docker Hub, and does not get Docker Hub's credentials.
func TestAMirrorIsWhereItIsSaidToBe(t *testing.T) {
	cache, err := fetch.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	for mirror, want := range map[string][2]string{ // where it is asked, and who logs in
		"http://nas":                     {"http://nas/v2/library/app", "nas"},
		"https://nas/cache":              {"https://nas/v2/cache/library/app", "nas"},
		"http://nas:5000/a.b":            {"http://nas:5000/v2/a.b/library/app", "nas:5000"},
		"https://mirror.example.net/a/b": {"https://mirror.example.net/v2/a/b/library/app", "mirror.example.net"},
	} {
		p, err := newPuller(cache, Options{Arch: "amd64", Mirror: mirror})
		if err != nil {
			t.Fatal(err)
		}
		repo, err := reference.Reference{Name: "docker.io/library/app:v1"}.Repository()
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.mirror(repo, "docker.io")
		if err != nil {
			t.Errorf("%s: %v", mirror, err)
			continue
		}
		if got := [2]string{s.base, s.login.repo.RegistryStr()}; got != want {
			t.Errorf("%s: %q, want %q", mirror, got, want)
		}
	}
}

// TestARedirectStaysWithItsSource: where it leads, the rules are those of who
// sent us there.
func TestARedirectStaysWithItsSource(t *testing.T) {
	for range 50 { // of two sources, none is there by chance
		net := &lan{secure: []error{none}, moved: "http://192.168.7.8/cdn"}
		if err := net.ask(t, "http://192.168.7.9:5000"); err != nil {
			t.Fatal(err)
		}
	}
}
