package main

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image"
	"github.com/going-mobile/imagebuilder/image/manifest"
)

// TestASummaryWarnsInCapitals of what --strict would refuse.
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

// TestWhoBuildsForNodesIsTold: for each image, commands that build print the remarks of the
// summary of "build", and nothing for an image without remarks.
func TestWhoBuildsForNodesIsTold(t *testing.T) {
	r := &image.Result{Image: "dist/rpi4.img", Warnings: []string{"the host's apt sources: torn"}, Deferred: map[string]string{"k3s": "no such host"}}
	r.Manifest = &manifest.Manifest{Warnings: []string{"the tag latest"}, Components: []manifest.Component{
		{Name: "k3s", Version: "v1.36.4+k3s1", Deferred: true}, {Name: "tailscale", Version: "1.102.5", Warning: "another digest"},
	}}
	var out strings.Builder
	if err := tellRemarks(&out, r); err != nil {
		t.Fatal(err)
	}
	want := "dist/rpi4.img:\n" +
		"k3s      v1.36.4+k3s1, DEFERRED to first boot: no such host\n" +
		"WARNING  tailscale: another digest\n" +
		"warning  the host's apt sources: torn\n" +
		"warning  the tag latest\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
	out.Reset()
	whole := &image.Result{Image: "dist/rpi4.img", Manifest: &manifest.Manifest{Components: []manifest.Component{{Name: "k3s"}}}}
	if err := tellRemarks(&out, whole); err != nil || out.Len() > 0 {
		t.Errorf("%v, %s", err, &out)
	}
}

// TestASummaryTellsWhatNoManifestHas: why a component is not in the image, and what is
// wrong with the computer that built it.
func TestASummaryTellsWhatNoManifestHas(t *testing.T) {
	var out strings.Builder
	r := &image.Result{Warnings: []string{"the host's apt sources: torn"}, Deferred: map[string]string{"k3s": "github.com: no such host"},
		Manifest: &manifest.Manifest{Components: []manifest.Component{{Name: "k3s", Version: "v1.36.4+k3s1", Deferred: true}}}}
	if err := printSummary(&out, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"DEFERRED to first boot: github.com: no such host\n", "warning  the host's apt sources: torn\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, &out)
		}
	}
}
