package main

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image"
	"github.com/going-mobile/imagebuilder/image/manifest"
)

// TestASummaryWarnsInCapitals: of what --strict would have refused.
func TestASummaryWarnsInCapitals(t *testing.T) {
	m := &manifest.Manifest{Components: []manifest.Component{
		{Name: "k3s", Version: "v1.36.4+k3s1", Warning: "the lock has another digest"}, {Name: "tailscale", Version: "1.102.5"},
	}}
	var out strings.Builder
	if err := printSummary(&out, &image.Result{Manifest: m}); err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "WARNING") != 1 || !strings.Contains(out.String(), "WARNING    k3s: the lock has another digest\n") {
		t.Error(out.String())
	}
}
