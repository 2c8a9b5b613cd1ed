// Package manifest reads and writes the record beside every image of what went into the
// image and where it came from. The record contains nothing that differs between two builds
// of the same inputs: no build time, no host, no path.
package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Suffix is appended to an image's name.
const Suffix = ".manifest.json"

// Manifest describes one image.
type Manifest struct {
	// Version of this schema: 1.
	Version int   `json:"version"`
	Image   Image `json:"image"`
	// Builder is the version of imagebuilder.
	Builder string `json:"builder"`
	// Codec names the compressor of the root, which the image's nodes also have: an update
	// with patches needs the same one on both sides. It is "" for images of older builders.
	Codec string `json:"codec,omitempty"`
	// Inputs is the sha256 over everything that determines the image's bytes.
	Inputs string `json:"inputs"`
	// Timestamp is the date of the newest Debian index that was used; every generated file
	// has this time.
	Timestamp  time.Time   `json:"timestamp"`
	Partitions []Partition `json:"partitions"`
	Overlays   []Overlay   `json:"overlays"`
	Packages   []Package   `json:"packages"`
	Components []Component `json:"components"`
	Images     []Container `json:"images,omitempty"`
	// Accepted maps packages whose unmodelled maintainer scripts were accepted to the
	// reason.
	Accepted map[string]string `json:"acceptUnmodelled,omitempty"`
	// Warnings are the build's warnings about the image. Those about the build computer are
	// only printed.
	Warnings []string `json:"warnings,omitempty"`
}

// Image is the disk image itself.
type Image struct {
	Board   string `json:"board"`
	Arch    string `json:"arch"`
	ID      string `json:"id"`
	Version string `json:"version"`
	// Size in bytes and sha256 of the raw image.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Signer signed what the firmware starts; nil if the image was not signed with an
	// owner's key.
	Signer *Signer `json:"signer,omitempty"`
}

// Signer is a certificate: its subject, and the sha256 of its DER encoding.
type Signer struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Partition is a partition of the image as built; first boot adds more.
type Partition struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	// Start and Size in bytes.
	Start int64 `json:"start"`
	Size  int64 `json:"size"`
}

// Overlay is a directory of files and declarations.
type Overlay struct {
	Name string `json:"name"`
	// DirHash is in-toto's digest of the overlay's files: the sha256 of their sha256sum
	// list.
	DirHash string `json:"dirHash"`
}

// Package is a Debian binary package.
type Package struct {
	Name          string `json:"name"`
	Version       string `json:"version"`
	Arch          string `json:"arch"`
	Source        string `json:"source"`
	SourceVersion string `json:"sourceVersion"`
	SHA256        string `json:"sha256"`
	// Suite is the archive's suite that the package came from, such as trixie-security.
	Suite string `json:"suite,omitempty"`
	// Size in bytes of those of its files that are in the image, uncompressed.
	Size int64 `json:"size"`
}

// Component is a pinned component that is not a Debian package.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	URL     string `json:"url,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	Size    int64  `json:"size,omitempty"`
	// BuiltFrom is the Go module that the component was built from, and Toolchain the Go
	// version; both are "" if it was not built from source.
	BuiltFrom string `json:"builtFrom,omitempty"`
	Toolchain string `json:"toolchain,omitempty"`
	// Deferred components are downloaded by the node at first boot.
	Deferred bool `json:"deferred,omitempty"`
	// Reason says why it is deferred. Only older builders wrote it, as it depends on the
	// builder's network.
	Reason string `json:"reason,omitempty"`
	// Warning says what to know before the component is installed on a node.
	Warning string `json:"warning,omitempty"`
}

// Container is a container image that k3s finds on the node.
type Container struct {
	Name   string `json:"name"`   // in full, with a tag
	Digest string `json:"digest"` // "sha256:" and hex, of the image's index if it has one
	// Size in bytes of the blobs for the image's architecture, compressed, including layers
	// that it shares with others.
	Size int64 `json:"size"`
}

// Encode returns the manifest as indented JSON.
func (m *Manifest) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// Decode reads what Encode wrote; name is for errors.
func Decode(name string, data []byte) (*Manifest, error) {
	var m Manifest
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("%s: manifest version %d is not supported; this program reads version 1", name, m.Version)
	}
	return &m, nil
}
