package firstboot_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// askingNode runs a Headscale that asks an authority for its certificate.
func askingNode(t *testing.T, where ...string) *world {
	c := controlNode(t)
	c.Headscale.URL = "https://headscale.example.net"
	c.Control = &node.ControlServer{}
	w := controlWorld(t, c)
	w.links[0].Addresses = places(where...)
	return w
}

func places(all ...string) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// Lines of Headscale 0.29.0, as Pebble and image/headscale/acmetest bring them about.
const (
	linesOfNoProof   = `2026/11/30 13:52:17 http: TLS handshake error from 203.0.113.20:41540: acme/autocert: unable to satisfy "https://ca.example.net/authZ/1" for domain "headscale.example.net": no viable challenge type found`
	linesOfRefusal   = `2026-11-30T13:53:24Z ERR acme request returned error body="{\n   \"type\": \"urn:ietf:params:acme:error:rejectedIdentifier\",\n   \"detail\": \"Order included an identifier for which issuance is forbidden by policy: \\\"headscale.example.net\\\"\",\n   \"status\": 400\n}" status_code=400 url=https://ca.example.net/order-plz`
	linesOfLimit     = `2026-11-30T13:53:24Z ERR acme request returned error body="{\n  \"type\": \"urn:ietf:params:acme:error:rateLimited\",\n  \"detail\": \"too many failed authorizations (5) for \\\"headscale.example.net\\\" in the last 1h0m0s, retry after 2026-11-30 14:00:00 UTC\",\n  \"status\": 429\n}" status_code=429 url=https://ca.example.net/order-plz`
	linesOfNonce     = `2026-11-30T13:53:24Z ERR acme request returned error body="{\n   \"type\": \"urn:ietf:params:acme:error:badNonce\",\n   \"detail\": \"JWS has an invalid anti-replay nonce\",\n   \"status\": 400\n}" status_code=400 url=https://ca.example.net/order-plz`
	linesOfTrouble   = `2026-11-30T13:53:24Z ERR acme request returned error body="<html>upstream</html>" status_code=503 url=https://ca.example.net/order-plz`
	linesOfNobody    = `2026-11-30T13:53:24Z ERR acme request failed error="dial tcp: lookup ca.example.net: no such host" url=https://ca.example.net/dir`
	linesOfNoPlace   = `2026-11-30T13:53:24Z ERR acme request failed error="unsupported protocol scheme \"\"" url=`
	linesOfAStranger = `2026-11-30T14:06:04Z INF http request bytes=19 elapsed=0.17 method=GET path="/x ERR acme request failed error=call-555" proto=HTTP/1.1 remote=198.51.100.9:1 status=404`
	linesOfOthers    = "2026/11/30 13:54:00 http: TLS handshake error from 198.51.100.9:1: acme/autocert: missing server name\n2026/11/30 13:54:01 http: TLS handshake error from 203.0.113.20:58002: acme/autocert: missing certificate"
)

// TestWhyNoCertificate: whoever reads a screen far away learns which of all
// things keeps the node's Headscale from a certificate.
func TestWhyNoCertificate(t *testing.T) {
	alert := errors.New("remote error: tls: internal error")
	late := &net.OpError{Op: "read", Net: "tcp", Err: context.DeadlineExceeded}
	gone := &net.DNSError{Name: "headscale.example.net", Err: "no such host", IsNotFound: true}
	const own = "203.0.113.20"
	for _, c := range []struct {
		name       string
		own, leads []netip.Addr
		resolve    error
		control    error
		journal    string
		code       string
		person     bool
		words      string
	}{
		{"no name", places(own), nil, gone, nil, "", "control-name", true, "leads to this machine (203.0.113.20)"},
		{"no name server", places(own), nil, errors.New("timeout"), nil, "", "dns-down", false, "headscale.example.net"},
		{"elsewhere", places(own), places("198.51.100.7"), nil, alert, linesOfNoProof, "control-away", true, "leads to 198.51.100.7, not to this machine"},
		{"elsewhere, too", places(own), places(own, "198.51.100.7"), nil, alert, linesOfNoProof, "control-away", true, "leads to 198.51.100.7, not"},
		{"elsewhere in IPv6", places(own), places(own, "2001:db8::7"), nil, alert, linesOfNoProof, "control-away", true, "leads to 2001:db8::7, not"},
		{"translated", places("10.0.0.4"), places("198.51.100.7"), nil, alert, linesOfNoProof, "acme-unproved", true, "ports 80 and 443"},
		{"translated in IPv4", places("10.0.0.4", "2001:db8::7"), places("198.51.100.7", "2001:db8::7"), nil, alert, linesOfNoProof, "acme-unproved", true, ""},
		{"closed", places(own), places(own), nil, alert, linesOfNoProof + "\n" + linesOfOthers, "acme-unproved", true, "provider's firewall"},
		{"refused", places(own), places(own), nil, alert, linesOfRefusal, "acme-refused", true, `issuance is forbidden by policy: "headscale.example.net"`},
		{"too often", places(own), places(own), nil, alert, linesOfNoProof + "\n" + linesOfLimit, "acme-limit", false, `too many failed authorizations (5) for "headscale.example.net"`},
		{"an old nonce is nothing", places(own), places(own), nil, alert, linesOfNoProof + "\n" + linesOfNonce, "acme-unproved", true, ""},
		{"down", places(own), places(own), nil, alert, linesOfTrouble, "acme-down", false, "<html>upstream</html>"},
		{"not there", places(own), places(own), nil, alert, linesOfNobody, "acme-down", false, "lookup ca.example.net: no such host"},
		{"of another kind", places(own), places(own), nil, alert, linesOfNoPlace, "acme-refused", true, "which Headscale cannot do without"},
		{"a stranger's words", places(own), places(own), nil, alert, linesOfNoProof + "\n" + linesOfAStranger, "acme-unproved", true, ""},
		{"at work", places(own), places(own), nil, late, linesOfOthers, "acme-asks", false, "headscale.example.net"},
		{"behind a router that knows itself not", places("10.0.0.4"), places("198.51.100.7"), nil, late, "", "unreachable", false, ""},
		{"of no kind", places(own), places(own), nil, alert, linesOfOthers, "unreachable", false, ""},
	} {
		w := askingNode(t)
		w.links[0].Addresses, w.leads, w.resolve, w.control, w.journal = c.own, c.leads, c.resolve, c.control, c.journal
		s, _ := w.boot(anyProblem)
		if p := s.Problem; p == nil || p.Code != c.code || p.Person != c.person || !strings.Contains(p.Summary+" "+p.Remedy, c.words) {
			t.Errorf("%s: %s", c.name, s.Line())
		}
	}
}

// TestGivenCertificate: nobody is asked where the owner brought one; where its
// name leads counts still.
func TestGivenCertificate(t *testing.T) {
	w := controlWorld(t, controlNode(t))
	w.links[0].Addresses, w.leads = places("203.0.113.20"), places("203.0.113.20")
	w.control, w.journal = errors.New("connection refused"), linesOfLimit
	if s, _ := w.boot(anyProblem); s.Problem == nil || s.Problem.Code != "unreachable" {
		t.Error(s.Line())
	}
	w.leads = places("198.51.100.7")
	if s, _ := w.boot(anyProblem); s.Problem == nil || s.Problem.Code != "control-away" {
		t.Error(s.Line())
	}
}

// TestCertificateEnds: what nobody renewed is told before it ends, and when it did.
func TestCertificateEnds(t *testing.T) {
	w := askingNode(t, "203.0.113.20")
	w.leads = places("203.0.113.20")
	block, _ := pem.Decode([]byte(controlNode(t).Control.Cert))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	w.put("/var/lib/headscale/acme/headscale.example.net", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"+string(pem.EncodeToMemory(block)))
	notice := func(before time.Duration) string {
		w.now = cert.NotAfter.Add(-before)
		s, _ := w.boot(anyProblem)
		if s.Notice == nil {
			return ""
		}
		return s.Notice.Code + " " + s.Notice.Summary
	}
	if got := notice(15 * 24 * time.Hour); got != "" {
		t.Error(got)
	}
	if got := notice(13 * 24 * time.Hour); !strings.HasPrefix(got, "control-ends ") || !strings.Contains(got, cert.NotAfter.UTC().Format(time.DateTime)) {
		t.Errorf("%q", got)
	}
	w.now = cert.NotAfter.Add(time.Minute)
	w.control = &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}
	if s, _ := w.boot(anyProblem); s.Problem == nil || s.Problem.Code != "control-ends" || !strings.Contains(s.Problem.Remedy, "imagebuilder apply vps --risky") {
		t.Error(s.Line())
	}
}

// TestNewAuthority: a Headscale that runs hears of the authority that its owner
// trusts from now on: it reads them once.
func TestNewAuthority(t *testing.T) {
	w := askingNode(t, "203.0.113.20")
	w.boot(anyProblem)
	c := controlNode(t)
	c.Headscale = node.Headscale{URL: "https://headscale.example.net", CA: c.Control.Cert}
	c.Control = &node.ControlServer{}
	text, err := node.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	w.personalise(string(text))
	w.names = nil
	w.boot(anyProblem)
	if calls := strings.Join(w.names, "\n"); !strings.Contains(calls, "restart headscale.service") || w.text("/etc/imagebuilder/ca/headscale.pem") != c.Headscale.CA {
		t.Errorf("calls:\n%s", calls)
	}
}
