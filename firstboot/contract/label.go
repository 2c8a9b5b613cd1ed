package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// LabelFile on every boot partition, in its root directory, says which image
// the disk holds: to whoever flashes, personalises, runs or inspects it. It
// holds nothing that only a running node knows.
const LabelFile = "imagebuilder.json"

// MaxLabel is the longest label that is read, in bytes.
const MaxLabel = 64 << 10

// Label is the content of LabelFile. Fields that a later version adds are ignored.
type Label struct {
	Version      int    `json:"version"`
	Board        string `json:"board"`
	Arch         string `json:"arch"` // Debian's name
	ImageVersion string `json:"imageVersion"`
	Kernel       string `json:"kernel"` // release, as uname(1) prints it
	// DiskID is the GUID of the disk or, on MBR, its signature.
	DiskID string `json:"diskId"`
	// SlotMiB is the size of root-a and root-b on a node, in MiB.
	SlotMiB int64    `json:"slotMiB"`
	Slots   []string `json:"slots"`
	// NodeFile and NodeFileSize tell where node.yaml goes and how many bytes
	// are reserved for it.
	NodeFile     string `json:"nodeFile"`
	NodeFileSize int64  `json:"nodeFileSize"`
	// Signed is true where boot loaders and kernel bear Debian's signatures, and
	// start with Secure Boot on.
	Signed bool `json:"signed,omitempty"`
	// Storage is the last way of keeping encrypted data that the image knows.
	Storage int `json:"storage,omitempty"`
}

// Scheme is that of the image's table of partitions.
func (l Label) Scheme() Scheme {
	if len(l.DiskID) == len("deadbeef") {
		return MBR
	}
	return GPT
}

// Encode returns the label as text.
func (l Label) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(l, "", "  ")
	return append(data, '\n'), err
}

// ParseLabel reads a label.
func ParseLabel(data []byte) (Label, error) {
	var l Label
	if err := json.Unmarshal(data, &l); err != nil {
		return Label{}, fmt.Errorf("%s: %w", LabelFile, err)
	}
	// The board becomes the name of a file.
	if l.Board == "" || strings.ContainsAny(l.Board, "/\\") {
		return Label{}, errors.New(LabelFile + " names no board")
	}
	return l, nil
}
