//go:build linux

package acmetest

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

const (
	name = "headscale.example.net"
	long = 90 * 24 * 3600 // seconds that a certificate lasts
)

// TestCertificate: a machine that was just switched on gets a certificate through its own
// firewall, by both of the authority's challenge types. It keeps the key private, and asks
// for no other certificate when it starts again.
func TestCertificate(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	a := w.newAuthority(long)
	w.leads(name, ownAddress)
	for _, c := range []struct {
		url  string
		http bool // 443 is not its own: the proof is on port 80
	}{{"https://" + name, false}, {"https://" + name + ":8443", true}} {
		v := w.newVPS(c.url, a.directory, a.ca)
		v.first()
		before, tries := a.orders(), a.count("Attempting to validate w/ HTTP")
		v.until("control-waits")
		if a.orders() == before || (a.count("Attempting to validate w/ HTTP") > tries) != c.http {
			t.Errorf("%s: %d orders, by HTTP: %v", c.url, a.orders()-before, !c.http)
		}
		first := v.answers(a.roots)
		v.secret()
		v.leadsBrowsers()
		before = a.orders()
		v.stop()
		v.serve()
		v.until("control-waits")
		if again := v.answers(a.roots); !again.Equal(first) || a.orders() != before {
			t.Errorf("%s: started again it asks for %d certificates", c.url, a.orders()-before)
		}
		v.stop()
	}
}

// first is the machine's first start: firstboot writes the settings, then units
// start, and the wall is up before anything else.
func (v *vps) first() {
	v.t.Helper()
	v.passes("identity")
	v.wall()
	v.serve()
}

// answers checks that Headscale is healthy, as seen from the world, and returns its
// certificate.
func (v *vps) answers(roots *x509.CertPool) *x509.Certificate {
	v.t.Helper()
	resp, err := v.client(ownAddress, roots).Get(v.cfg.Headscale.URL + "/health")
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"pass"`) {
		v.t.Fatalf("/health: %s, %s, %v", resp.Status, body, err)
	}
	return resp.TLS.PeerCertificates[0]
}

// leadsBrowsers checks the redirect to https on the port where the authority looks.
func (v *vps) leadsBrowsers() {
	v.t.Helper()
	resp, err := v.client(ownAddress, nil).Get("http://" + name + "/web")
	if err != nil {
		v.t.Fatal(err)
	}
	resp.Body.Close()
	if to := resp.Header.Get("Location"); resp.StatusCode/100 != 3 || !strings.HasPrefix(to, v.cfg.Headscale.URL) {
		v.t.Errorf("http: %s to %q", resp.Status, to)
	}
}

// secret checks that only the server can read the keys of the account and the certificate.
func (v *vps) secret() {
	v.t.Helper()
	dir := filepath.Join(v.root, contract.HeadscaleData, "acme")
	keys := map[string]bool{}
	err := filepath.Walk(dir, func(file string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if fi.Mode().Perm()&0o077 != 0 {
			v.t.Errorf("%s has mode %v", fi.Name(), fi.Mode())
		}
		if fi.IsDir() {
			return nil
		}
		text, err := os.ReadFile(file)
		if block, _ := pem.Decode(text); block != nil && strings.HasSuffix(block.Type, "PRIVATE KEY") {
			keys[fi.Name()] = true
		}
		return err
	})
	if err != nil || !keys[name] || !keys["acme_account+key"] {
		v.t.Errorf("%s: keys in %v, %v", dir, keys, err)
	}
}

// TestRenewal: the server asks for the next certificate before the one it has
// ends, and shows it without a restart.
func TestRenewal(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	a := w.newAuthority(120)
	w.leads(name, ownAddress)
	v := w.newVPS("https://"+name, a.directory, a.ca)
	v.first()
	v.until("control-waits")
	first := v.answers(a.roots)
	var next *x509.Certificate
	for end := first.NotAfter.Add(time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		if next = v.answers(a.roots); !next.Equal(first) {
			break
		}
	}
	if next.Equal(first) || a.orders() < 2 {
		t.Errorf("the same certificate after %v, %d orders", time.Since(first.NotBefore), a.orders())
	}
}
