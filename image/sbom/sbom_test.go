package sbom

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/going-mobile/imagebuilder/image/manifest"
)

func example() *manifest.Manifest {
	sum := strings.Repeat("0123456789abcdef", 4)
	return &manifest.Manifest{
		Version: 1, Builder: "v1.2.3", Timestamp: time.Date(2026, 11, 21, 2, 10, 46, 0, time.UTC),
		Image: manifest.Image{Board: "rpi4", Arch: "arm64", ID: "imagebuilder-rpi4", Version: "2026", Size: 1 << 20, SHA256: sum},
		Packages: []manifest.Package{
			{Name: "g++", Version: "4:14.2.0-1+b1~x", Arch: "arm64", SHA256: sum, Source: "gcc-defaults", SourceVersion: "1.220"},
			{Name: "libc6", Version: "2.41-12", Arch: "arm64", SHA256: sum, Source: "glibc", SourceVersion: "2.41-12"},
		},
		Components: []manifest.Component{
			{Name: "k3s", Version: "v1.36.4+k3s1", URL: "https://example.org/k3s%20v%2B/k3s?x=1&y", SHA256: sum, Deferred: true, Reason: "down"},
			{Name: "tailscale", Version: "v1.102.5", SHA256: sum, BuiltFrom: "tailscale.com@v1.102.5", Toolchain: "go1.26"},
			{Name: "unknown", Version: "file-0123"},
		},
	}
}

// The patterns are those of the SPDX 2.3 specification, clauses 3.2, 6.5,
// 7.2 and 7.7: tools-golang reads more than that allows.
var (
	spdxID        = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)
	spdxNamespace = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:[^#\s]+$`)
	spdxLocation  = regexp.MustCompile(`^(NONE|NOASSERTION|[a-z][a-z0-9+.-]*:\S+)$`)
	purl          = regexp.MustCompile(`^pkg:(deb/debian|generic)/[A-Za-z0-9.%_~-]+@[A-Za-z0-9.%_~:-]+(\?[a-z_]+=[A-Za-z0-9.%_~:-]+(&[a-z_]+=[A-Za-z0-9.%_~:-]+)*)?$`)
	hexDigest     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func TestSPDXIsReadByItsOwnLibrary(t *testing.T) {
	data, err := SPDX(example())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := spdxjson.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := spdxlib.ValidateDocument(doc); err != nil {
		t.Error(err)
	}
	if doc.SPDXVersion != "SPDX-2.3" || doc.DataLicense != "CC0-1.0" || doc.SPDXIdentifier != "DOCUMENT" || doc.DocumentName == "" {
		t.Errorf("head: %s %s %s %q", doc.SPDXVersion, doc.DataLicense, doc.SPDXIdentifier, doc.DocumentName)
	}
	if !spdxNamespace.MatchString(doc.DocumentNamespace) {
		t.Errorf("namespace %q", doc.DocumentNamespace)
	}
	if doc.CreationInfo.Created != "2026-11-21T02:10:46Z" || len(doc.CreationInfo.Creators) == 0 {
		t.Errorf("creation: %+v", doc.CreationInfo)
	}
	if len(doc.Packages) != 6 || len(doc.Relationships) != 6 {
		t.Fatalf("%d packages, %d relationships", len(doc.Packages), len(doc.Relationships))
	}
	ids := map[string]bool{}
	for _, p := range doc.Packages {
		id := string(p.PackageSPDXIdentifier)
		if !spdxID.MatchString(id) || ids[id] {
			t.Errorf("identifier %q", id)
		}
		ids[id] = true
		if p.PackageName == "" || !spdxLocation.MatchString(p.PackageDownloadLocation) {
			t.Errorf("%s: name %q, location %q", id, p.PackageName, p.PackageDownloadLocation)
		}
		if p.FilesAnalyzed || !p.IsFilesAnalyzedTagPresent {
			// filesAnalyzed true, also by default, requires a verification code and files
			// (7.8, 7.9).
			t.Errorf("%s claims that its files were analysed", id)
		}
		for _, c := range p.PackageChecksums {
			if !hexDigest.MatchString(c.Value) {
				t.Errorf("%s: checksum %q", id, c.Value)
			}
		}
		for _, r := range p.PackageExternalReferences {
			if r.Category != "PACKAGE-MANAGER" || r.RefType != "purl" || !purl.MatchString(r.Locator) {
				t.Errorf("%s: %s %s %q", id, r.Category, r.RefType, r.Locator)
			}
		}
	}
}

func TestCycloneDXIsReadByItsOwnLibrary(t *testing.T) {
	data, err := CycloneDX(example())
	if err != nil {
		t.Fatal(err)
	}
	var bom cdx.BOM
	dec := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON)
	if err := dec.Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.SpecVersion != cdx.SpecVersion1_6 || bom.BOMFormat != "CycloneDX" || bom.Version != 1 {
		t.Errorf("head: %v %s %d", bom.SpecVersion, bom.BOMFormat, bom.Version)
	}
	serial := regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if !serial.MatchString(bom.SerialNumber) {
		t.Errorf("serial number %q", bom.SerialNumber)
	}
	refs := map[string]bool{bom.Metadata.Component.BOMRef: true}
	for _, c := range *bom.Components {
		if c.Name == "" || c.Type == "" || refs[c.BOMRef] || !purl.MatchString(c.PackageURL) {
			t.Errorf("component %q: type %q, reference %q, purl %q", c.Name, c.Type, c.BOMRef, c.PackageURL)
		}
		refs[c.BOMRef] = true
	}
	if len(refs) != 6 {
		t.Errorf("%d references", len(refs))
	}
	for _, d := range *bom.Dependencies {
		for _, ref := range append(*d.Dependencies, d.Ref) {
			if !refs[ref] {
				t.Errorf("dependency on %q, which is nowhere", ref)
			}
		}
	}
}

func TestPURLsFollowTheSpecification(t *testing.T) {
	m := example()
	for _, c := range []struct{ got, want string }{
		{m.Packages[0].PURL(), "pkg:deb/debian/g%2B%2B@4:14.2.0-1%2Bb1~x?arch=arm64"},
		{manifest.Package{Name: "linux-base", Version: "4.17~bpo13+1", Arch: "all", Suite: "trixie-backports"}.PURL(), "pkg:deb/debian/linux-base@4.17~bpo13%2B1?arch=all&distro=trixie-backports"},
		{m.Components[0].PURL(), "pkg:generic/k3s@v1.36.4%2Bk3s1?download_url=https:%2F%2Fexample.org%2Fk3s%2520v%252B%2Fk3s%3Fx%3D1%26y"},
		{m.Components[1].PURL(), "pkg:generic/tailscale@v1.102.5"},
	} {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
}

func TestSameManifestSameBytes(t *testing.T) {
	for range 5 {
		for name, encode := range map[string]func(*manifest.Manifest) ([]byte, error){"SPDX": SPDX, "CycloneDX": CycloneDX} {
			a, err := encode(example())
			b, err2 := encode(example())
			if err != nil || err2 != nil || !bytes.Equal(a, b) {
				t.Errorf("%s differs from run to run: %v %v", name, err, err2)
			}
		}
	}
}
