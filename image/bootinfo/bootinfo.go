// Package bootinfo is the label of a disk: the file on every boot partition
// that says which image it holds. The builder writes it; the flasher, the
// emulator and whoever inspects an image read it. It holds nothing that only a
// running node knows.
package bootinfo

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// File is the label's name in the root directory of a boot partition.
const File = "imagebuilder.json"

// MaxSize is the longest label that is read, in bytes.
const MaxSize = 64 << 10

// Info is the label's content. Fields that a later version adds are ignored.
type Info struct {
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
}

// Encode returns the label as text.
func (i Info) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(i, "", "  ")
	return append(data, '\n'), err
}

// Parse reads a label.
func Parse(data []byte) (Info, error) {
	var i Info
	if err := json.Unmarshal(data, &i); err != nil {
		return Info{}, fmt.Errorf("%s: %w", File, err)
	}
	// The board becomes the name of a file.
	if i.Board == "" || strings.ContainsAny(i.Board, "/\\") {
		return Info{}, errors.New(File + " names no board")
	}
	return i, nil
}
