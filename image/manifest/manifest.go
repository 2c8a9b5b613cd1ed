// Package manifest is the record that lies beside every image: what went in
// and from where. It holds nothing that differs between two builds of the same
// inputs: no times of the build, no host, no path.
package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Suffix follows an image's name.
const Suffix = ".manifest.json"

// Manifest describes one image.
type Manifest struct {
	// Version of this schema; 1.
	Version int   `json:"version"`
	Image   Image `json:"image"`
	// Builder is the version of imagebuilder.
	Builder string `json:"builder"`
	// Codec compressed the root, and is in what the image's nodes run; absent where
	// the builder was older than that mattered.
	Codec string `json:"codec,omitempty"`
	// Inputs is the sha256 over everything that determines the image's bytes.
	Inputs string `json:"inputs"`
	// Timestamp is the date of the newest Debian index used; every file that
	// the build made carries it.
	Timestamp  time.Time   `json:"timestamp"`
	Partitions []Partition `json:"partitions"`
	Overlays   []Overlay   `json:"overlays"`
	Packages   []Package   `json:"packages"`
	Components []Component `json:"components"`
	Images     []Container `json:"images,omitempty"`
	// Accepted maps packages whose unmodelled scripts were accepted to the
	// reason given.
	Accepted map[string]string `json:"acceptUnmodelled,omitempty"`
	// Warnings of the image were printed by the build, as were those of the computer it
	// ran on, which are not here.
	Warnings []string `json:"warnings,omitempty"`
}

// Image is the disk image itself.
type Image struct {
	Board   string `json:"board"`
	Arch    string `json:"arch"`
	ID      string `json:"id"`
	Version string `json:"version"`
	// Size in bytes of the raw image, and its sha256.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Signer signed what firmware starts; absent where that is nobody of the owner's.
	Signer *Signer `json:"signer,omitempty"`
}

// Signer is a certificate: its subject, and the sha256 of its DER form.
type Signer struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Partition of the image as built; first boot adds more.
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
	// DirHash is in-toto's digest of its files, the sha256 of their sha256sums.
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
	// Suite of the archive that it came from, such as trixie-security.
	Suite string `json:"suite,omitempty"`
	// Size in bytes of its files that are in the image, uncompressed.
	Size int64 `json:"size"`
}

// Component is a pinned thing that is no Debian package.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	URL     string `json:"url,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	Size    int64  `json:"size,omitempty"`
	// BuiltFrom names the Go module it was built from, if it was, and
	// Toolchain the Go version that built it.
	BuiltFrom string `json:"builtFrom,omitempty"`
	Toolchain string `json:"toolchain,omitempty"`
	// Deferred components are fetched by the node at first boot.
	Deferred bool `json:"deferred,omitempty"`
	// Reason is why, of the network of the computer that built: older builders wrote it.
	Reason string `json:"reason,omitempty"`
	// Warning tells why it ought not to go onto a node unseen.
	Warning string `json:"warning,omitempty"`
}

// Container is a container image that k3s finds on the node.
type Container struct {
	Name   string `json:"name"`   // in full, with a tag
	Digest string `json:"digest"` // "sha256:" and hex, of its index where it has one
	// Size in bytes of what the image's architecture has of it, compressed;
	// layers that it shares with others count.
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
