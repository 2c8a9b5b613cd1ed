//go:build linux

package acmetest

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// says checks that a problem's text contains all of these words.
func (v *vps) says(p *firstboot.Problem, words ...string) {
	v.t.Helper()
	text := p.Summary + " " + p.Remedy
	v.t.Logf("%s: %s", p.Code, text)
	for _, w := range words {
		if !strings.Contains(text, w) {
			v.t.Errorf("%s: %s\nwant %q in it", p.Code, text, w)
		}
	}
}

// TestNoProof follows a machine whose owner solves one problem after the other: no name, a
// name that resolves elsewhere, a provider's firewall. After the last the machine works.
func TestNoProof(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	a := w.newAuthority(long)
	v := w.newVPS("https://"+name, a.directory, a.ca)
	v.first()
	v.says(v.until("control-name"), name+", does not exist", "("+ownAddress+")")
	w.leads(name, "203.0.113.99")
	v.says(v.until("control-away"), "leads to 203.0.113.99, not to this machine", "to "+ownAddress+" alone")
	if n := a.orders(); n > 0 {
		t.Errorf("until then the authority was asked %d times, which it counts", n)
	}
	w.leads(name, ownAddress)
	v.sh("nft flush set inet imagebuilder public")
	v.says(v.until("acme-unproved"), name, "ports 80 and 443 (tcp)", "provider's firewall")
	v.wall()
	v.until("control-waits")
	v.answers(a.roots)
}

// TestRefusals: what the authority says, or that it cannot be reached, is passed on in its
// own words.
func TestRefusals(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	a := w.newAuthority(long)
	const blocked = "blocked.example.net"
	for _, c := range []struct {
		host, directory, ca string
		code                string
		words               []string
	}{
		{blocked, a.directory, a.ca, "acme-refused", []string{blocked, "forbidden by policy"}},
		{name, a.directory, "", "acme-down", []string{"certificate signed by unknown authority", "headscale: ca:"}},
		{name, "https://" + worldAddress + ":14999/dir", a.ca, "acme-down", []string{"connection refused", "control: acme:"}},
		{name, a.limited(), a.ca, "acme-limit", []string{name, "too many failed authorizations (5)", "retry after 2026-11-30 14:00:00 UTC"}},
	} {
		w.leads(c.host, ownAddress)
		v := w.newVPS("https://"+c.host, c.directory, c.ca)
		v.first()
		v.says(v.until(c.code), c.words...)
		v.stop()
	}
}

// refusal is Let's Encrypt's answer after too many failures
// (letsencrypt.org/docs/rate-limits; boulder's web front end).
const refusal = `{
  "type": "urn:ietf:params:acme:error:rateLimited",
  "detail": "too many failed authorizations (5) for \"headscale.example.net\" in the last 1h0m0s, retry after 2026-11-30 14:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/#authorization-failures-per-hostname-per-account",
  "status": 429
}`

// limited is a front end of the authority that accepts no orders, as Pebble itself has no
// rate limits.
func (a *authority) limited() (directory string) {
	a.t.Helper()
	own, err := tls.LoadX509KeyPair(filepath.Join(a.dir, "pebble.crt"), filepath.Join(a.dir, "pebble.key"))
	if err != nil {
		a.t.Fatal(err)
	}
	const at = worldAddress + ":14001"
	var l net.Listener
	if err := a.within(func() (err error) {
		l, err = tls.Listen("tcp", at, &tls.Config{Certificates: []tls.Certificate{own}})
		return err
	}); err != nil {
		a.t.Fatal(err)
	}
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: worldAddress + ":14000"})
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM([]byte(a.ca))
	behind.Transport = a.client(worldAddress, trusted).Transport
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/order-plz" {
			rw.Header().Set("Content-Type", "application/problem+json")
			rw.Header().Set("Retry-After", "3600")
			rw.WriteHeader(http.StatusTooManyRequests)
			_, _ = rw.Write([]byte(refusal))
			return
		}
		behind.ServeHTTP(rw, r)
	})}
	go func() { _ = server.Serve(l) }()
	a.t.Cleanup(func() { server.Close() })
	return "https://" + at + "/dir"
}
