package firstboot

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Without a certificate from its owner, Headscale asks an ACME authority for one when the
// first client connects. Until it has one, all clients get a TLS alert and nothing else.
// So what keeps it from getting one is looked for here: where its name leads, and what
// its log says about the authority.

// ownFault names what keeps everybody from this node's Headscale, nil if the cause is not
// on this node. leads are the addresses that its name resolves to, failed is the error
// that a client got.
func (m *machine) ownFault(ctx context.Context, host string, leads []netip.Addr, failed error) *Problem {
	var untrusted *tls.CertificateVerificationError
	if p := m.ending(m.cfg); p != nil && errors.As(failed, &untrusted) {
		return p
	}
	own := m.ownAddresses(ctx)
	if away := strangers(leads, own); len(away) > 0 {
		return problem("control-away", host, join(away), cmp.Or(join(public(own)), join(own)))
	}
	if m.cfg.Control.Cert != "" {
		return nil
	}
	log, err := m.Units.Log(ctx, contract.HeadscaleUnit, 400) // port scanners fill it, too
	if p := m.authorityFault(host, log); err == nil && p != nil {
		return p
	}
	var late net.Error
	if errors.As(failed, &late) && late.Timeout() && slices.ContainsFunc(leads, func(a netip.Addr) bool { return slices.Contains(own, a) }) {
		return problem("acme-asks", host)
	}
	return nil
}

func (h *Host) ownAddresses(ctx context.Context) (all []netip.Addr) {
	links, _ := h.Net.Links(ctx)
	for _, l := range links {
		all = append(all, l.Addresses...)
	}
	return all
}

// strangers returns the addresses in leads that are not this machine's. If the machine
// has only private addresses of a family (IPv4 or IPv6), there may be NAT before it, and
// no address of that family is judged.
func strangers(leads, own []netip.Addr) (away []netip.Addr) {
	for _, a := range leads {
		alike := slices.DeleteFunc(slices.Clone(own), func(b netip.Addr) bool { return a.Is4() != b.Is4() })
		if !slices.Contains(alike, a) && (len(alike) == 0 || len(public(alike)) > 0) {
			away = append(away, a)
		}
	}
	return away
}

// public returns the addresses that the Internet can reach.
func public(all []netip.Addr) []netip.Addr {
	shared := netip.MustParsePrefix(contract.TailnetNetwork) // RFC 6598: carriers use it for their customers, too
	return slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool {
		return !a.IsGlobalUnicast() || a.IsPrivate() || shared.Contains(a)
	})
}

func join(all []netip.Addr) string {
	var out []string
	for _, a := range all {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

// authorityFault returns what Headscale's log says last about the authority: that a
// request failed or was refused (hscontrol's acmeLogger, 0.26 to 0.29), or that no
// challenge found this machine (x/crypto's autocert, which keeps the authority's reasons
// to itself).
func (m *machine) authorityFault(host, log string) *Problem {
	for _, line := range slices.Backward(strings.Split(log, "\n")) {
		words := unstamped(line)
		switch {
		case strings.HasPrefix(words, "acme request failed ") && strings.HasSuffix(strings.TrimSpace(words), "url="):
			// RFC 8555 does not require it; x/crypto 0.53 does (golang/go#77704).
			return problem("acme-refused", host, "it does not say where the certificate will be (Location), which Headscale cannot do without")
		case strings.HasPrefix(words, "acme request failed "):
			return problem("acme-down", quoted(words, "error="))
		case strings.HasPrefix(words, "acme request returned error "):
			if p := refusal(host, words); p != nil {
				return p
			}
		case strings.HasPrefix(words, "http: TLS handshake error from ") && strings.Contains(words, ": acme/autocert: unable to satisfy "):
			return problem("acme-unproved", host, fmt.Sprint(m.cfg.ControlPort()))
		}
	}
	return nil
}

// unstamped returns a line without its time and level, or its date and time. Only the
// beginning of the rest may be matched: the path of a request, which anybody chooses, is
// in the log, too.
func unstamped(line string) string {
	parts := strings.SplitN(line, " ", 3)
	return parts[len(parts)-1]
}

// refusal reads an error document of the authority (RFC 8555, 6.7). It returns nil for
// one that means nothing: a nonce that is too old is replaced at the next try.
func refusal(host, line string) *Problem {
	var answer struct{ Type, Detail string }
	body := quoted(line, "body=")
	if json.Unmarshal([]byte(body), &answer) != nil { // not JSON: a page of a proxy
		answer.Detail = body
	}
	kind := strings.TrimPrefix(answer.Type, "urn:ietf:params:acme:error:")
	status := quoted(line, "status_code=")
	words := cmp.Or(answer.Detail, kind, status)
	switch {
	case kind == "badNonce":
		return nil
	case kind == "rateLimited" || status == "429":
		return problem("acme-limit", host, words)
	case status >= "500":
		return problem("acme-down", words)
	}
	return problem("acme-refused", host, words)
}

// quoted returns the value of a field in a line of zerolog's console format, which quotes
// a value only if it must.
func quoted(line, field string) string {
	_, rest, _ := strings.Cut(line, field)
	if q, err := strconv.QuotedPrefix(rest); err == nil {
		text, _ := strconv.Unquote(q) // QuotedPrefix has checked it
		return text
	}
	value, _, _ := strings.Cut(rest, " ")
	return value
}

// servedCertificate returns the certificate of this node's Headscale, nil if the node
// runs no Headscale or has no certificate for it yet.
func (h *Host) servedCertificate(c *node.Config) (*x509.Certificate, error) {
	if c.Control == nil {
		return nil, nil
	}
	name := acmeDir + "/" + strings.ToLower(c.ControlHost())
	if c.Control.Cert != "" {
		name = controlCert
	}
	text, err := h.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, err
}

// ending returns a notice if Headscale's certificate is about to expire: autocert renews
// it when a third of its lifetime is left, and tells nobody if that fails.
func (h *Host) ending(c *node.Config) *Problem {
	cert, err := h.servedCertificate(c)
	if err != nil || cert == nil || cert.NotAfter.Sub(h.Clock.Now()) > lastDays(cert) {
		return nil
	}
	return problem("control-ends", cert.NotAfter.UTC().Format(time.DateTime+" UTC"), c.Node)
}

// lastDays is how little time is left once renewing must have failed for long.
func lastDays(cert *x509.Certificate) time.Duration {
	return min(cert.NotAfter.Sub(cert.NotBefore)/6, 14*24*time.Hour)
}

// Served is the state of the Headscale on this node.
type Served struct {
	Host  string
	Until time.Time // when its certificate expires, zero if it has none
	// Fault keeps clients from it now, Ending soon will; each may be nil.
	Fault, Ending *Problem
}

// ServedHeadscale asks the Headscale on this node as a client would; nil if the node runs
// none.
func (h *Host) ServedHeadscale(ctx context.Context) (*Served, error) {
	g, err := load(h.Files)
	if err != nil || g.cfg.Control == nil {
		return nil, err
	}
	m := &machine{Host: *h, given: g}
	s := &Served{Host: g.cfg.ControlHost(), Fault: m.controlFault(ctx), Ending: h.ending(g.cfg)}
	cert, err := h.servedCertificate(g.cfg)
	if cert != nil {
		s.Until = cert.NotAfter
	}
	return s, err
}
