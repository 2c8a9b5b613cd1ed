package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cavaliergopher/grab/v3"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/transfer"
)

// network is the local network and the way to the Internet.
type network struct{ files Files }

// virtual are prefixes of the names of network interfaces that have no hardware.
var virtual = []string{"lo", "tailscale", "cni", "flannel", "veth", "docker", "br-", "dummy", "kube", "sit", "tunl", "ip6tnl"}

func (n network) Links(context.Context) ([]firstboot.Link, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []firstboot.Link
	for _, i := range all {
		if isVirtual(i.Name) {
			continue
		}
		l := firstboot.Link{Name: i.Name, Carrier: i.Flags&net.FlagRunning != 0, Networks: networks(i)}
		for _, p := range l.Networks {
			if p.Addr().IsGlobalUnicast() {
				l.Addresses = append(l.Addresses, p.Addr())
			}
		}
		out = append(out, l)
	}
	return out, nil
}

func isVirtual(name string) bool {
	for _, v := range virtual {
		if strings.HasPrefix(name, v) {
			return true
		}
	}
	return false
}

func networks(i net.Interface) []netip.Prefix {
	list, err := i.Addrs()
	if err != nil { // the port just went away
		return nil
	}
	var out []netip.Prefix
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func (network) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for i, a := range all {
		all[i] = a.Unmap() // in the form that the addresses of interfaces have
	}
	return all, err
}

// controlTime is how long a Headscale server has for its answer, and portalTime a login page for
// its own, after that: a network with such a page may drop TLS without a word.
var controlTime, portalTime = 15 * time.Second, 5 * time.Second

// Control requests the key that every control server gives to anybody, in the form that Headscale
// and tailscale 1.102 agree on.
func (n network) Control(ctx context.Context, address, ca string) error {
	roots, err := trust(ca)
	if err != nil {
		return err
	}
	client := n.client(&tls.Config{RootCAs: roots})
	asking, cancel := context.WithTimeout(ctx, controlTime)
	defer cancel()
	req, err := http.NewRequestWithContext(asking, http.MethodGet, strings.TrimSuffix(address, "/")+"/key?v=130", nil)
	if err != nil {
		return firstboot.ErrNotHeadscale
	}
	resp, err := client.Do(req)
	if err != nil {
		if n.portal(ctx, req.URL.Hostname()) {
			return errors.Join(firstboot.ErrPortal, err)
		}
		return err
	}
	defer resp.Body.Close()
	return controlAnswer(resp, req.URL.Hostname())
}

func controlAnswer(resp *http.Response, host string) error {
	switch {
	case isPortal(resp, host):
		return firstboot.ErrPortal
	case resp.StatusCode >= 500: // a proxy in front of a server that is down
		return fmt.Errorf("it answers %s", resp.Status)
	case resp.StatusCode != http.StatusOK:
		return firstboot.ErrNotHeadscale
	}
	var key struct {
		PublicKey string `json:"publicKey"`
	}
	err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&key)
	if err != nil || !strings.HasPrefix(key.PublicKey, "mkey:") {
		return firstboot.ErrNotHeadscale
	}
	return nil
}

// portal sends a request in plain HTTP: a network with a login page answers that itself.
func (n network) portal(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, portalTime)
	defer cancel()
	u := url.URL{Scheme: "http", Host: host, Path: "/"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return false
	}
	resp, err := n.client(nil).Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return isPortal(resp, host)
}

// isPortal recognises RFC 6585's status 511 and a redirect to another host.
func isPortal(resp *http.Response, host string) bool {
	if resp.StatusCode == http.StatusNetworkAuthenticationRequired {
		return true
	}
	to, err := resp.Location()
	return err == nil && resp.StatusCode/100 == 3 && to.Hostname() != host
}

func trust(ca string) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if ca != "" && !roots.AppendCertsFromPEM([]byte(ca)) {
		return nil, errors.New("headscale.ca holds no certificate")
	}
	return roots, nil
}

// client follows no redirects: a redirect is itself an answer here.
func (n network) client(conf *tls.Config) *http.Client {
	c := n.follower(conf)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

func (n network) follower(conf *tls.Config) *http.Client {
	return &http.Client{CheckRedirect: transfer.CheckRedirect, Transport: &http.Transport{
		Proxy:                 n.proxy(),
		TLSClientConfig:       conf,
		DialContext:           dialPatiently,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		DisableKeepAlives:     true,
	}}
}

// proxy returns the proxy of node.yaml, or else the one in this program's environment.
func (n network) proxy() func(*http.Request) (*url.URL, error) {
	if v := n.files.proxyVariables()["HTTPS_PROXY"]; v != "" {
		if u, err := url.Parse(v); err == nil {
			return http.ProxyURL(u)
		}
	}
	return http.ProxyFromEnvironment
}

// stallTime is how long a download may stand still.
const stallTime = 60 * time.Second

// dialPatiently gives every read a deadline of its own, so that a download takes as long as it
// needs but never hangs.
func dialPatiently(ctx context.Context, kind, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: 15 * time.Second}).DialContext(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	return patient{c}, nil
}

type patient struct{ net.Conn }

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(stallTime)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// Reach gives a peer that sleeps behind a relay time to wake up.
func (n network) Reach(ctx context.Context, at netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := dialPatiently(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	return c.Close()
}

// Supervisor requests the certificates that every k3s server gives to anybody. The server's TLS
// certificate cannot be verified yet: the token does that when the node joins.
func (n network) Supervisor(ctx context.Context, at netip.AddrPort) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext:       dialPatiently,
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+at.String()+"/cacerts", nil)
	if err != nil {
		return false, err
	}
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK { // the server is there, but not ready yet
		return false, fmt.Errorf("%s answers %s", at, resp.Status)
	}
	return true, nil
}

// Fetch downloads a file and resumes an earlier download. A partial file that is longer than the
// server's file is useless, and is deleted.
func (n network) Fetch(ctx context.Context, address, name string, size int64) error {
	path := n.files.at(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	req, err := grab.NewRequest(path, address)
	if err != nil {
		return fmt.Errorf("%s: not a usable address", address)
	}
	c := grab.NewClient()
	c.HTTPClient = limited{n.follower(nil), size}
	c.UserAgent = "imagebuilder-firstboot"
	err = c.Do(req.WithContext(ctx)).Err()
	if errors.Is(err, grab.ErrBadLength) || errors.Is(err, transfer.ErrTooLong) {
		return errors.Join(err, os.Remove(path))
	}
	return err
}

// limited is the HTTP client that grab uses.
type limited struct {
	*http.Client
	size int64
}

func (l limited) Do(req *http.Request) (*http.Response, error) {
	resp, err := l.Client.Do(req)
	if err == nil {
		transfer.Limit(resp, l.size)
	}
	return resp, err
}
