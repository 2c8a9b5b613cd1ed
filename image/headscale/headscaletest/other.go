//go:build linux

package headscaletest

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// Loopback are addresses that a test's node can have.
var Loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1")}

// OtherServer runs a web server that is not Headscale, and returns its address.
func OtherServer(t testing.TB) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html>hello</html>"))
	}))
	t.Cleanup(s.Close)
	return s.URL
}
