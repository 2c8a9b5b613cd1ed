//go:build linux

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
	"github.com/going-mobile/imagebuilder/image/systembackup/systembackuptest"
)

// TestHeadscale tells what an owner does with a real Headscale at hand.
func TestHeadscale(t *testing.T) { stories(t, headscaletest.Start(t)) }

func stories(t *testing.T, s *headscaletest.Server) {
	files := map[string][]byte{}
	const at = "cluster/backupstore/system-backups/"
	systembackuptest.Add(files, at, "v1.12.1", "weekly-1", "2026-11-15T05:11:00Z", "ide/home")
	systembackuptest.Add(files, at, "v1.12.1", "weekly-2", "2026-11-22T05:11:00Z", "nextcloud/data", "ide/home")
	bucket := systembackuptest.Bucket(t, files)
	scripts(t, "testdata/headscale", func(env *testscript.Env) error {
		env.Setenv("HEADSCALE", s.URL)
		env.Setenv("BUCKET", bucket.Endpoint)
		env.Setenv("HEADSCALE_API_KEY", s.APIKey.Reveal())
		return nil
	})
}
