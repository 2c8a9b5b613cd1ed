//go:build e2e && linux

package jointest

import (
	"testing"

	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// TestReplaceAtOlderServers is TestReplace with each older version that we say
// we speak to.
func TestReplaceAtOlderServers(t *testing.T) {
	for _, version := range headscaletest.Older {
		t.Run(version, func(t *testing.T) { replaces(t, headscaletest.StartOlder(t, version)) })
	}
}

// TestNamesAtOlderServers is TestNamesLeadToNodes with them.
func TestNamesAtOlderServers(t *testing.T) {
	tailscaled := program(t)
	for _, version := range headscaletest.Older {
		t.Run(version, func(t *testing.T) { namesLead(t, tailscaled, headscaletest.StartOlder(t, version)) })
	}
}
