//go:build e2e && linux

package main

import (
	"testing"

	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// TestOlderHeadscales tells the stories of TestHeadscale with each older
// version.
func TestOlderHeadscales(t *testing.T) {
	for _, version := range headscaletest.Older {
		t.Run(version, func(t *testing.T) { stories(t, headscaletest.StartOlder(t, version)) })
	}
}
