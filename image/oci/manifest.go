package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// document is an image index or the manifest of one platform, in the format of OCI or
// Docker.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     types.MediaType `json:"mediaType"`
	Manifests     []v1.Descriptor `json:"manifests"`
	Config        *v1.Descriptor  `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
}

// maxDocument bounds an index, a manifest or a config, in bytes: registries accept no more.
const maxDocument = 4 << 20

// maxLayers bounds what one image can make us download. Unpackers stop at 127 layers.
const maxLayers = 500

// parse reads an index or a manifest. It refuses a document that could be taken for both:
// two readers would see two images under one digest (CVE-2021-41190).
func parse(data []byte) (*document, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("is no manifest: %w", err)
	}
	index, manifest := d.Manifests != nil, d.Config != nil || d.Layers != nil
	switch {
	case d.SchemaVersion != 2:
		return nil, fmt.Errorf("its manifest is of schema version %d, which containerd does not read; push it again with a newer tool", d.SchemaVersion)
	case index && manifest, !index && !manifest:
		return nil, errors.New("its manifest is neither that of an image nor an index of images")
	case manifest && d.Config == nil, len(d.Layers) > maxLayers, len(d.Manifests) > maxLayers:
		return nil, errors.New("its manifest has no config, or too many entries")
	}
	if d.MediaType == "" { // OCI allows this
		d.MediaType = types.OCIManifestSchema1
		if index {
			d.MediaType = types.OCIImageIndex
		}
	}
	if index != d.MediaType.IsIndex() || manifest != d.MediaType.IsImage() {
		return nil, fmt.Errorf("its manifest says that it is %s, which it is not", d.MediaType)
	}
	for _, b := range slices.Concat(d.Manifests, d.Layers) {
		if err := checkDescriptor(b); err != nil {
			return nil, err
		}
	}
	if d.Config != nil {
		return &d, checkDescriptor(*d.Config)
	}
	return &d, nil
}

// maxBlob bounds the size in a descriptor, in bytes: it is more than any registry accepts,
// and small enough that sums of sizes do not overflow.
const maxBlob = 1 << 40

func checkDescriptor(d v1.Descriptor) error {
	if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 || d.Size <= 0 || d.Size > maxBlob {
		return fmt.Errorf("its manifest names %s with %d bytes; only sha256 and sizes above 0, up to a terabyte, are understood", d.Digest, d.Size)
	}
	return nil
}

// candidates returns the manifests of an index that may be for arch, the best first:
// containerd takes the first that suits. A manifest without a platform may be for any and
// comes last.
func (d *document) candidates(arch string) []v1.Descriptor {
	var fit, silent []v1.Descriptor
	for _, m := range d.Manifests {
		switch p := m.Platform; {
		case !m.MediaType.IsImage():
		case p == nil:
			silent = append(silent, m)
		case suits(p.OS, p.Architecture, p.Variant, arch):
			fit = append(fit, m)
		}
	}
	return append(fit, silent...)
}

// suits reports whether an image for this platform runs on every machine of arch, which is
// the name that both Debian and Go use. A variant beyond the first needs a processor that
// not all machines have.
func suits(os, architecture, variant, arch string) bool {
	first := map[string]string{"arm64": "v8", "amd64": "v1"}
	return os == "linux" && architecture == arch && (variant == "" || variant == first[arch])
}

// platforms lists the platforms of an index, for people.
func (d *document) platforms() string {
	var list []string
	for _, m := range d.Manifests {
		switch p := m.Platform; {
		case m.MediaType.IsIndex():
			list = append(list, "an index inside the index, which is not looked into")
		case p != nil && p.OS != "unknown" && m.MediaType.IsImage(): // without attestations
			list = append(list, p.String())
		}
	}
	if len(list) == 0 {
		return "none that it names"
	}
	return strings.Join(list, ", ")
}

// checkConfig checks the platform in the image's own config, the only information about an
// image that is in no index.
func checkConfig(data []byte, arch string) error {
	var c struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("its config: %w", err)
	}
	if !suits(c.OS, c.Architecture, c.Variant, arch) {
		return &archError{Want: arch, Have: v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}.String()}
	}
	return nil
}

// archError says that an image is not for the board's architecture.
type archError struct{ Want, Have string }

func (e *archError) Error() string {
	return fmt.Sprintf("is not for linux/%s; there is %s (take a tag that has linux/%s, or leave it out for this board)", e.Want, e.Have, e.Want)
}
