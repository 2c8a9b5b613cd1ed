//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
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
	systembackuptest.Add(files, at, "v1.12.1", "many", "2026-11-08T05:11:00Z", claims(500)...)
	systembackuptest.Add(files, at, "v1.12.1", "absurd", "2026-11-01T05:11:00Z", claims(5000)...)
	bucket := systembackuptest.Bucket(t, files)
	scripts(t, "testdata/headscale", func(env *testscript.Env) error {
		env.Setenv("HEADSCALE", s.URL)
		env.Setenv("BUCKET", bucket.Endpoint)
		env.Setenv("HEADSCALE_API_KEY", s.APIKey.Reveal())
		return nil
	})
}

// claims are so many, with ide/home among them.
func claims(n int) []string {
	all, r := []string{"ide/home"}, rand.New(rand.NewPCG(1, 2))
	for range n - 1 {
		all = append(all, fmt.Sprintf("ide/%016x", r.Uint64()))
	}
	return all
}
