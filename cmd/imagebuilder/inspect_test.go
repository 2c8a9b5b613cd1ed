package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/oci"
)

// TestInspectListsContainerImages, also where it is not asked whether they are whole.
func TestInspectListsContainerImages(t *testing.T) {
	r := &inspect.Report{Archives: []inspect.Archive{
		{File: "/i/images-ab.tar", Size: 12_300_000, Images: []oci.Entry{{Name: "docker.io/a/b:1", Digest: "sha256:cd"}}},
		{File: "/i/k3s.tar.zst", Deferred: true},
	}}
	for want, archives := range map[string][]inspect.Archive{
		"\n/i/images-ab.tar   12.3 MB\n  docker.io/a/b:1  sha256:cd\n/i/k3s.tar.zst     deferred to first boot\n": r.Archives,
		"\nno container images\n": {},
	} {
		var b bytes.Buffer
		r.Archives = archives
		if err := printReport(&b, r); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%v:\n%s\nlacks\n%s", err, b.String(), want)
		}
	}
}
