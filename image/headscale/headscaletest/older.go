//go:build e2e && linux

package headscaletest

import "testing"

// Older are the versions before the one in images that the client also supports. Each has
// its own module, as their dependencies conflict.
var Older = []string{"v0.28.0", "v0.27.1", "v0.26.1"}

// StartOlder is Start with one of these versions.
func StartOlder(t testing.TB, version string) *Server {
	t.Helper()
	mod, sum := pinned(t, version)
	return start(t, compile(t, "github.com/juanfont/headscale/cmd/headscale", mod, sum), "127.0.0.1", "127.0.0.1")
}
