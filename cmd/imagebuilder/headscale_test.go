//go:build linux

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// TestHeadscale tells what an owner does with a real Headscale at hand.
func TestHeadscale(t *testing.T) { stories(t, headscaletest.Start(t)) }

func stories(t *testing.T, s *headscaletest.Server) {
	scripts(t, "testdata/headscale", func(env *testscript.Env) error {
		env.Setenv("HEADSCALE", s.URL)
		env.Setenv("HEADSCALE_API_KEY", s.APIKey.Reveal())
		return nil
	})
}
