package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// LabelFile, in the root directory of every boot partition, says which image
// the disk holds, for whoever flashes, personalises, runs or inspects it. It
// has nothing that only a running node knows.
const LabelFile = "imagebuilder.json"

// MaxLabel is the longest label that is read, in bytes.
const MaxLabel = 64 << 10

// Label is the content of LabelFile. Fields of later versions are ignored.
type Label struct {
	Version      int    `json:"version"`
	Board        string `json:"board"`
	Arch         string `json:"arch"` // by Debian's name
	ImageVersion string `json:"imageVersion"`
	Kernel       string `json:"kernel"` // release, as uname(1) prints it
	// DiskID is the GUID of the disk or, on MBR, its signature.
	DiskID string `json:"diskId"`
	// SlotMiB is the size of root-a and root-b on a node, in MiB.
	SlotMiB int64    `json:"slotMiB"`
	Slots   []string `json:"slots"`
	// NodeFile and NodeFileSize say where node.yaml goes and how many bytes are
	// reserved for it.
	NodeFile     string `json:"nodeFile"`
	NodeFileSize int64  `json:"nodeFileSize"`
	// Signed means that boot loaders and kernel have Debian's signatures and
	// start with Secure Boot on.
	Signed bool `json:"signed,omitempty"`
	// Storage is the newest way of keeping encrypted data that the image knows:
	// see StorageNone.
	Storage int `json:"storage,omitempty"`
}

// Scheme returns the kind of the image's partition table.
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
