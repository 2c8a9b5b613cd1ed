// Package provenance writes a manifest as an in-toto Statement v1 with a SLSA Provenance v1
// predicate: which bytes were built, from which inputs, by which program.
//
// It adds nothing that is not in the manifest, in particular no times and no host. The
// statement is not signed; the release's list of checksums, which includes it, is. The same
// inputs give the same statement.
package provenance

import (
	"encoding/json"
	"fmt"

	"github.com/going-mobile/imagebuilder/image/manifest"
)

// Suffix is appended to an image's name.
const Suffix = ".provenance.json"

// The types in a statement. BuildType's external parameters are board, the name of a board
// file; version, the image's; and lock, the file with every exact input, for "build --lock".
// Dependencies are Debian packages, components and container images by purl, and overlays by
// dirHash.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://slsa.dev/provenance/v1"
	BuildType     = "https://pkg.go.dev/github.com/going-mobile/imagebuilder/image/provenance#BuildType"
	BuilderID     = "https://github.com/going-mobile/imagebuilder"
)

// Statement is an in-toto Statement about some files.
type Statement struct {
	Type          string     `json:"_type"`
	Subject       []Resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     Predicate  `json:"predicate"`
}

// Resource is in-toto's ResourceDescriptor.
type Resource struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// File describes a file by its name and its sha256.
func File(name, sha256 string) Resource {
	return Resource{Name: name, Digest: map[string]string{"sha256": sha256}}
}

// Predicate is SLSA's Provenance v1.
type Predicate struct {
	BuildDefinition BuildDefinition `json:"buildDefinition"`
	RunDetails      RunDetails      `json:"runDetails"`
}

// BuildDefinition is everything that determined the result.
type BuildDefinition struct {
	BuildType            string     `json:"buildType"`
	ExternalParameters   Parameters `json:"externalParameters"`
	ResolvedDependencies []Resource `json:"resolvedDependencies"`
}

// Parameters are what the user asked for.
type Parameters struct {
	Board   string   `json:"board"`
	Version string   `json:"version"`
	Lock    Resource `json:"lock"`
}

// RunDetails say which program built.
type RunDetails struct {
	Builder Builder `json:"builder"`
}

// Builder is a program and its version.
type Builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version"`
}

// Encode makes the statement that the subjects, an image and compressed copies of it, were
// built as m describes, from the inputs in lock.
func Encode(m *manifest.Manifest, lock Resource, subjects ...Resource) ([]byte, error) {
	data, err := json.MarshalIndent(Statement{
		Type: StatementType, Subject: subjects, PredicateType: PredicateType,
		Predicate: Predicate{
			BuildDefinition: BuildDefinition{
				BuildType:            BuildType,
				ExternalParameters:   Parameters{Board: m.Image.Board, Version: m.Image.Version, Lock: lock},
				ResolvedDependencies: dependencies(m),
			},
			RunDetails: RunDetails{Builder{ID: BuilderID, Version: map[string]string{"imagebuilder": m.Builder}}},
		},
	}, "", "  ")
	return append(data, '\n'), err
}

func dependencies(m *manifest.Manifest) []Resource {
	list := []Resource{}
	for _, o := range m.Overlays {
		list = append(list, Resource{Name: "overlays/" + o.Name, Digest: map[string]string{"dirHash": o.DirHash}})
	}
	for _, p := range m.Packages {
		r := File(p.Name, p.SHA256)
		r.URI = p.PURL()
		list = append(list, r)
	}
	for _, c := range m.Components {
		list = append(list, component(c))
	}
	for _, c := range m.Images {
		r := File(c.Name, c.SHA256())
		r.URI = c.PURL(m.Image.Arch)
		list = append(list, r)
	}
	return list
}

func component(c manifest.Component) Resource {
	r := File(c.Name, c.SHA256)
	r.URI = c.PURL()
	if c.SHA256 == "" {
		r.Digest = nil
	}
	switch {
	case c.Deferred:
		r.Annotations = map[string]string{"deferred": "fetched by the node at first boot"}
	case c.BuiltFrom != "":
		r.Annotations = map[string]string{"builtFrom": c.BuiltFrom, "toolchain": c.Toolchain}
	}
	return r
}

// Subjects returns the files that the statement in data is about; name is for errors.
// Unknown fields are ignored, as in-toto's parsing rules require.
func Subjects(name string, data []byte) ([]Resource, error) {
	var s struct {
		Type          string     `json:"_type"`
		Subject       []Resource `json:"subject"`
		PredicateType string     `json:"predicateType"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if s.Type != StatementType || s.PredicateType != PredicateType {
		return nil, fmt.Errorf("%s: is no in-toto statement with SLSA provenance v1, but %q with %q", name, s.Type, s.PredicateType)
	}
	if len(s.Subject) == 0 {
		return nil, fmt.Errorf("%s: names no subject", name)
	}
	return s.Subject, nil
}
