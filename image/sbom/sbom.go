// Package sbom writes a manifest as a software bill of materials, in the two
// formats that scanners read: SPDX 2.3 and CycloneDX 1.6, both as JSON.
//
// It adds nothing that is not in the manifest. In particular it states no licences, which
// Debian keeps as prose in each package's copyright file.
package sbom

import (
	"bytes"
	"fmt"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"

	"github.com/going-mobile/imagebuilder/image/manifest"
)

// item is what both formats say about a package or a component.
type item struct {
	name, version, purl, sha256, url, origin string
}

func items(m *manifest.Manifest) []item {
	var list []item
	for _, p := range m.Packages {
		list = append(list, item{name: p.Name, version: p.Version, sha256: p.SHA256, purl: p.PURL(),
			origin: fmt.Sprintf("built from Debian source package %s %s", p.Source, p.SourceVersion)})
	}
	for _, c := range m.Components {
		it := item{name: c.Name, version: c.Version, sha256: c.SHA256, url: c.URL, purl: c.PURL()}
		if c.BuiltFrom != "" {
			it.origin = "built from " + c.BuiltFrom + " with " + c.Toolchain
		}
		if c.Deferred {
			it.origin = "fetched by the node at first boot"
		}
		list = append(list, it)
	}
	for _, c := range m.Images {
		list = append(list, item{name: c.Name, version: c.Digest, sha256: c.SHA256(), purl: c.PURL(m.Image.Arch), origin: "container image for k3s"})
	}
	return list
}

// SPDX returns an SPDX 2.3 document in JSON.
func SPDX(m *manifest.Manifest) ([]byte, error) {
	image := spdx.ElementID("image")
	doc := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      m.Image.ID + "-" + m.Image.Version,
		DocumentNamespace: "urn:imagebuilder:" + m.Image.SHA256,
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "imagebuilder-" + m.Builder}},
			Created:  m.Timestamp.UTC().Format("2006-01-02T15:04:05Z"),
		},
		Packages: []*spdx.Package{{
			PackageName: m.Image.ID, PackageSPDXIdentifier: image, PackageVersion: m.Image.Version,
			PackageDownloadLocation: "NOASSERTION", PackageChecksums: checksums(m.Image.SHA256), PrimaryPackagePurpose: "OPERATING-SYSTEM",
		}},
		Relationships: []*spdx.Relationship{relation("DOCUMENT", image, common.TypeRelationshipDescribe)},
	}
	for i, it := range items(m) {
		id := spdx.ElementID(fmt.Sprintf("package-%d", i+1))
		doc.Packages = append(doc.Packages, spdxPackage(id, it))
		doc.Relationships = append(doc.Relationships, relation(image, id, common.TypeRelationshipContains))
	}
	var buf bytes.Buffer
	if err := spdxjson.Write(doc, &buf, spdxjson.Indent("  ")); err != nil {
		return nil, fmt.Errorf("SPDX: %w", err)
	}
	return buf.Bytes(), nil
}

func spdxPackage(id spdx.ElementID, it item) *spdx.Package {
	location := it.url
	if location == "" {
		location = "NOASSERTION"
	}
	return &spdx.Package{
		PackageName: it.name, PackageSPDXIdentifier: id, PackageVersion: it.version,
		PackageDownloadLocation: location, PackageChecksums: checksums(it.sha256), PackageSourceInfo: it.origin,
		PackageExternalReferences: []*spdx.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: it.purl,
		}},
	}
}

func checksums(sha256 string) []common.Checksum {
	if sha256 == "" {
		return nil
	}
	return []common.Checksum{{Algorithm: common.SHA256, Value: sha256}}
}

func relation(a, b spdx.ElementID, kind string) *spdx.Relationship {
	return &spdx.Relationship{RefA: common.DocElementID{ElementRefID: a}, RefB: common.DocElementID{ElementRefID: b}, Relationship: kind}
}

// CycloneDX returns a CycloneDX 1.6 document in JSON.
func CycloneDX(m *manifest.Manifest) ([]byte, error) {
	bom := cdx.NewBOM()
	bom.SerialNumber = "urn:uuid:" + uuidOf(m.Image.SHA256)
	bom.Metadata = &cdx.Metadata{
		Timestamp: m.Timestamp.UTC().Format("2006-01-02T15:04:05Z"),
		Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{{
			Type: cdx.ComponentTypeApplication, Name: "imagebuilder", Version: m.Builder,
		}}},
		Component: &cdx.Component{BOMRef: "image", Type: cdx.ComponentTypeOS, Name: m.Image.ID, Version: m.Image.Version, Hashes: hashes(m.Image.SHA256)},
	}
	var components []cdx.Component
	refs := []string{}
	for _, it := range items(m) {
		components = append(components, cdx.Component{
			BOMRef: it.purl, Type: cdx.ComponentTypeLibrary, Name: it.name, Version: it.version,
			PackageURL: it.purl, Hashes: hashes(it.sha256), Description: it.origin,
		})
		refs = append(refs, it.purl)
	}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: "image", Dependencies: &refs}}
	var buf bytes.Buffer
	enc := cdx.NewBOMEncoder(&buf, cdx.BOMFileFormatJSON).SetPretty(true)
	if err := enc.EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("CycloneDX: %w", err)
	}
	return buf.Bytes(), nil
}

func hashes(sha256 string) *[]cdx.Hash {
	if sha256 == "" {
		return nil
	}
	return &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sha256}}
}

// uuidOf makes a UUID (RFC 9562, version 8) of a digest, so that the serial
// number belongs to the image's bytes.
func uuidOf(sha256 string) string {
	h := (sha256 + strings.Repeat("0", 32))[:32]
	return h[:8] + "-" + h[8:12] + "-8" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
}
