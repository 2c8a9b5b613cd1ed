package headscale

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// TestDialAtAsksNoProxy: even with a proxy in the environment (HTTPS_PROXY), the client
// connects to the given host, and speaks to it as to a server.
func TestDialAtAsksNoProxy(t *testing.T) {
	asked := ""
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.Method + " " + r.RequestURI }))
	defer s.Close()
	host, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := New("http://headscale.example.net", secret.String("k"), "")
	if err != nil {
		t.Fatal(err)
	}
	c.http.Transport.(*http.Transport).Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example.net:3128"})
	c.DialAt(host, port)
	if err := c.call(t.Context(), http.MethodGet, "/api/v1/node", nil, nil); err != nil || asked != "GET /api/v1/node" {
		t.Errorf("%v; it was asked %q", err, asked)
	}
}
