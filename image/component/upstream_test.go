package component_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/component"
)

// web is what this process finds behind https addresses: a proxy answers in
// the name of every host, with a certificate that the process trusts. Nothing
// of the product knows of it.
var web struct {
	mu    sync.Mutex
	files map[string][]byte // by host and path
	moved map[string]string
	asked []string
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "component-web-")
	if err != nil {
		log.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(serveWeb))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(filepath.Join(dir, "ca.pem"))}}
	s.StartTLS()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tunnel(w, s.Listener.Addr().String()) }))
	for name, value := range map[string]string{"SSL_CERT_FILE": filepath.Join(dir, "ca.pem"), "HTTPS_PROXY": proxy.URL, "NO_PROXY": ".invalid"} {
		if err := os.Setenv(name, value); err != nil {
			log.Fatal(err)
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func certificate(file string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"github.com", "pkgs.tailscale.com", "example.net", "charts.longhorn.io"},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tunnel connects a client of the proxy with a server.
func tunnel(w http.ResponseWriter, to string) {
	up, err := net.Dial("tcp", to)
	if err != nil {
		log.Fatal(err)
	}
	down, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(down, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { io.Copy(up, down); up.Close() }()
	go func() { io.Copy(down, up); down.Close() }()
}

func serveWeb(w http.ResponseWriter, r *http.Request) {
	web.mu.Lock()
	defer web.mu.Unlock()
	name := r.Host + r.URL.EscapedPath()
	if r.Method == http.MethodGet {
		web.asked = append(web.asked, name)
	}
	if to := web.moved[name]; to != "" {
		http.Redirect(w, r, to, http.StatusFound)
		return
	}
	b, ok := web.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Unix(0, 0), bytes.NewReader(b))
}

// publish makes https serve files by host and path, for one test.
func publish(t *testing.T, files map[string][]byte, moved map[string]string) {
	set := func(files map[string][]byte, moved map[string]string) {
		web.mu.Lock()
		defer web.mu.Unlock()
		web.files, web.moved, web.asked = files, moved, nil
	}
	set(files, moved)
	t.Cleanup(func() { set(nil, nil) })
}

func asked() string {
	web.mu.Lock()
	defer web.mu.Unlock()
	return strings.Join(web.asked, " ")
}

const k3sRelease = "/k3s-io/k3s/releases/download/v1.99.0%2Bk3s1/"

func TestDigestsComeFromUpstreamBytesFromAMirror(t *testing.T) {
	k3s, evil := program(amd64, "k3s of tomorrow"), program(amd64, "k3s of an enemy")
	list := func(b []byte) []byte {
		return []byte(sum([]byte("other")) + "  k3s-airgap-images-amd64.tar.zst\n" + sum(b) + "  k3s\n")
	}
	opt := component.Options{Overrides: map[string]string{"k3s": "v1.99.0+k3s1"}}
	mirror := serve(t, map[string][]byte{"/base" + k3sRelease + "k3s": evil, "/base" + k3sRelease + "sha256sum-amd64.txt": list(evil)})
	opt.Mirror = mirror.URL + "/base/"

	t.Run("a mirror has no say", func(t *testing.T) {
		publish(t, nil, nil)
		r, err := resolve(t, cache(t), "k3s", "amd64", opt)
		if err == nil || !strings.Contains(err.Error(), "https://github.com"+k3sRelease+"sha256sum-amd64.txt: server returned 404") {
			t.Errorf("%+v, %v", r, err)
		}
		if mirror.hits != 0 {
			t.Errorf("the mirror was asked %d times for a digest", mirror.hits)
		}
	})
	publish(t, map[string][]byte{"github.com" + k3sRelease + "sha256sum-amd64.txt": list(k3s), "github.com" + k3sRelease + "k3s": k3s}, nil)
	t.Run("nor other bytes", func(t *testing.T) {
		c := cache(t)
		if got := built(t, c, "k3s", opt)["usr/local/bin/k3s"]; got != string(k3s) {
			t.Errorf("got %q", got)
		}
		if mirror.hits == 0 || !strings.HasSuffix(asked(), "download/v1.99.0%2Bk3s1/k3s") {
			t.Errorf("the mirror was asked %d times, upstream for %s", mirror.hits, asked())
		}
	})
	mirror.files["/base"+k3sRelease+"k3s"] = k3s
	c := cache(t)
	r, err := resolve(t, c, "k3s", "amd64", opt)
	if err != nil {
		t.Fatal(err)
	}
	if r.SHA256 != sum(k3s) || r.Version != "v1.99.0+k3s1" || r.Source != component.FromRelease || r.URL != "https://github.com"+k3sRelease+"k3s" {
		t.Errorf("%+v", r)
	}
	t.Run("a lock needs no server", func(t *testing.T) {
		mirror.Close()
		publish(t, nil, nil)
		again, err := resolve(t, c, "k3s", "amd64", component.Options{Pins: map[string]component.Pin{"k3s": r.Pin()}})
		if err != nil || again.SHA256 != r.SHA256 || asked() != "" {
			t.Errorf("%+v, %v", again, err)
		}
	})
}

// TestAnAddressWithoutDigestStaysOnTLS: its bytes are as good as the
// connection they came over.
func TestAnAddressWithoutDigestStaysOnTLS(t *testing.T) {
	k3s := program(amd64, "k3s")
	plain := serve(t, map[string][]byte{"/k3s": program(amd64, "evil")})
	publish(t, map[string][]byte{"example.net/k3s": k3s},
		map[string]string{"example.net/moved": "/k3s", "example.net/left": plain.URL + "/k3s", "example.net/far": "https://example.net/left"})
	for _, name := range []string{"left", "far"} {
		r, err := resolve(t, cache(t), "k3s", "amd64", component.Options{Overrides: map[string]string{"k3s": "https://example.net/" + name}})
		if err == nil || !strings.Contains(err.Error(), "redirected from https to http") || plain.hits > 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	publish(t, web.files, web.moved)
	r, err := resolve(t, cache(t), "k3s", "amd64", component.Options{Overrides: map[string]string{"k3s": "https://example.net/moved"}})
	if err != nil || r.SHA256 != sum(k3s) {
		t.Fatalf("%+v, %v", r, err)
	}
	if asked() != "example.net/moved example.net/k3s" {
		t.Errorf("fetched more than once: %s", asked())
	}
}
