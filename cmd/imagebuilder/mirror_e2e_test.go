//go:build e2e

package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/going-mobile/imagebuilder/image/apt"
)

// badMirror is a mirror on the loopback that passes requests on to the
// host's own and damages some answers.
type badMirror struct {
	*httptest.Server
	archive, security *httputil.ReverseProxy

	mu   sync.Mutex
	seen map[string][]string // Range headers by base name
	// fault may answer instead of the mirror. try counts from 1 for each path.
	fault func(w http.ResponseWriter, r *http.Request, try int, whole func() []byte) bool
}

func newBadMirror(t *testing.T) *badMirror {
	t.Helper()
	host, err := apt.HostMirrors("amd64", setUp(t).lock.Suites[0].Name)
	if err != nil || len(host.Archive) == 0 || len(host.Security) == 0 {
		t.Fatalf("the host's apt has no sources of Debian: %v", err)
	}
	m := &badMirror{archive: proxyTo(t, host.Archive[0]), security: proxyTo(t, host.Security[0]), seen: map[string][]string{}}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func proxyTo(t *testing.T, base string) *httputil.ReverseProxy {
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		_, rest, _ := strings.Cut(strings.TrimPrefix(r.In.URL.Path, "/"), "/")
		r.Out.URL.Path = ""
		r.Out.URL.RawPath = ""
		r.SetURL(u)
		r.Out.URL.Path = strings.TrimRight(u.Path, "/") + "/" + rest
		r.Out.URL.RawPath = ""
	}}
}

// args points a build at the mirror alone.
func (m *badMirror) args() []string {
	return []string{"--mirror", m.URL + "/archive/", "--security-mirror", m.URL + "/security/"}
}

func (m *badMirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	try := len(m.requests(name)) + 1
	m.mu.Lock()
	if r.Method == http.MethodGet {
		m.seen[name] = append(m.seen[name], r.Header.Get("Range"))
	}
	m.mu.Unlock()
	to := m.archive
	if strings.HasPrefix(r.URL.Path, "/security/") {
		to = m.security
	}
	whole := func() []byte {
		rec := httptest.NewRecorder()
		plain := r.Clone(context.WithoutCancel(r.Context())) // a fault is whole even for a client that has left
		plain.Method = http.MethodGet
		plain.Header = http.Header{}
		to.ServeHTTP(rec, plain)
		return rec.Body.Bytes()
	}
	if m.fault == nil || !m.fault(w, r, try, whole) {
		to.ServeHTTP(w, r)
	}
}

// requests returns the Range headers of the requests for a file.
func (m *badMirror) requests(name string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.seen[name]...)
}

func TestTamperedIndexIsRefused(t *testing.T) {
	m := newBadMirror(t)
	m.fault = func(w http.ResponseWriter, r *http.Request, _ int, whole func() []byte) bool {
		if path.Base(r.URL.Path) != "InRelease" {
			return false
		}
		w.Write(bytes.Replace(whole(), []byte("Components: main"), []byte("Components: evil"), 1))
		return true
	}
	stderr := refuses(t, cacheCopy(t), filepath.Join(outDir(t), "x.img"), []string{"suite trixie", m.URL, "InRelease", "signature"}, m.args()...)
	if strings.Contains(stderr, "no source worked") {
		t.Errorf("not told as what it is:\n%s", stderr)
	}
	// A mirror that lies is no reason not to ask the next one.
	honest := newBadMirror(t)
	builds(t, cacheCopy(t), filepath.Join(outDir(t), "x.img"), append(m.args(), honest.args()...)...)
}

func TestUnsignedIndexIsRefused(t *testing.T) {
	m := newBadMirror(t)
	m.fault = func(w http.ResponseWriter, r *http.Request, _ int, whole func() []byte) bool {
		if path.Base(r.URL.Path) != "InRelease" {
			return false
		}
		text, _, _ := bytes.Cut(whole(), []byte("-----BEGIN PGP SIGNATURE"))
		_, text, _ = bytes.Cut(text, []byte("\n\n"))
		w.Write(text)
		return true
	}
	refuses(t, cacheCopy(t), filepath.Join(outDir(t), "x.img"), []string{"InRelease", "sign"}, m.args()...)
}

func TestPackagesOfAnotherDigestAreRefused(t *testing.T) {
	cache := cacheCopy(t)
	if err := os.RemoveAll(filepath.Join(cache, "derived/apt-index")); err != nil {
		t.Fatal(err)
	}
	m := newBadMirror(t)
	m.fault = func(w http.ResponseWriter, r *http.Request, _ int, whole func() []byte) bool {
		if !strings.Contains(r.URL.Path, "/binary-amd64/") || r.Method != http.MethodGet {
			return false
		}
		body := whole()
		body[len(body)/2] ^= 1
		w.Write(body)
		return true
	}
	refuses(t, cache, filepath.Join(outDir(t), "x.img"), []string{"Packages.", "by-hash/SHA256", "sha256 is", "want"}, m.args()...)
}

func TestFlippedPackageIsTriedOnceMore(t *testing.T) {
	cache, p, m := cacheCopy(t), packageNamed(t, "zstd"), newBadMirror(t)
	forget(t, cache, p.SHA256)
	m.fault = func(w http.ResponseWriter, r *http.Request, _ int, whole func() []byte) bool {
		if path.Base(r.URL.Path) != path.Base(p.Filename) || r.Method != http.MethodGet {
			return false
		}
		body := whole()
		body[len(body)/2] ^= 0x40
		w.Write(body)
		return true
	}
	refuses(t, cache, filepath.Join(outDir(t), "x.img"), []string{"zstd " + p.Version, m.URL, "sha256 is ", "want " + p.SHA256}, m.args()...)
	if n := len(m.requests(path.Base(p.Filename))); n != 2 {
		t.Errorf("the mirror was asked %d times, want 2", n)
	}
	m.fault = nil
	builds(t, cache, filepath.Join(outDir(t), "x.img"), m.args()...)
}

func TestTornDownloadIsResumed(t *testing.T) {
	cache, p, m := cacheCopy(t), packageNamed(t, "zstd"), newBadMirror(t)
	forget(t, cache, p.SHA256)
	half := p.Size / 2
	m.fault = func(w http.ResponseWriter, r *http.Request, try int, whole func() []byte) bool {
		if path.Base(r.URL.Path) != path.Base(p.Filename) || r.Method != http.MethodGet || try > 1 {
			return false
		}
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Content-Length", strconv.FormatInt(p.Size, 10))
		io.Copy(w, bytes.NewReader(whole()[:half]))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler) // breaks the connection
	}
	builds(t, cache, filepath.Join(outDir(t), "x.img"), m.args()...)
	got := m.requests(path.Base(p.Filename))
	if len(got) != 2 || !strings.HasPrefix(got[1], "bytes=") || got[1] == "bytes=0-" {
		t.Errorf("requests had the ranges %q, want a second one for the rest", got)
	}
}

func TestBusyMirrorIsAskedAgain(t *testing.T) {
	cache, p, m := cacheCopy(t), packageNamed(t, "zstd"), newBadMirror(t)
	forget(t, cache, p.SHA256)
	m.fault = func(w http.ResponseWriter, r *http.Request, try int, _ func() []byte) bool {
		name := path.Base(r.URL.Path)
		if try > 2 || name != path.Base(p.Filename) && name != "InRelease" {
			return false
		}
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return true
	}
	builds(t, cache, filepath.Join(outDir(t), "x.img"), m.args()...)
}

func TestLostPackageNamesEveryMirror(t *testing.T) {
	cache, p := cacheCopy(t), packageNamed(t, "zstd")
	forget(t, cache, p.SHA256)
	under := "/archive/" // Debian decides from day to day
	if strings.HasSuffix(p.Suite, "-security") {
		under = "/security/"
	}
	var args, words []string
	for range 2 {
		m := newBadMirror(t)
		m.fault = func(w http.ResponseWriter, r *http.Request, _ int, _ func() []byte) bool {
			if path.Base(r.URL.Path) != path.Base(p.Filename) {
				return false
			}
			http.NotFound(w, r)
			return true
		}
		args, words = append(args, m.args()...), append(words, m.URL+under+p.Filename)
	}
	refuses(t, cache, filepath.Join(outDir(t), "x.img"), append(words, "zstd", "404"), args...)
}
