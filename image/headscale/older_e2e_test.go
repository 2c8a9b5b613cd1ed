//go:build e2e && linux

package headscale_test

import (
	"testing"

	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// TestOlderServers is TestRealServer with each older version that we say we
// speak to.
func TestOlderServers(t *testing.T) {
	for _, version := range headscaletest.Older {
		t.Run(version, func(t *testing.T) { walk(t, headscaletest.StartOlder(t, version), version) })
	}
}
