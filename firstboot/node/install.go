package node

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// Install turns the medium with this file into an installation stick: it copies its system onto a
// disk of the computer, once, before it ever starts that system itself. On that disk, which gets
// this very file, Install has no meaning any more.
type Install struct {
	// Disk is the disk of the computer that the system goes to.
	Disk InstallDisk `yaml:"disk,omitempty"`
	// Wipe allows overwriting whatever is on the disk, whoever it belongs to.
	Wipe bool `yaml:"wipe,omitempty"`
	// ReplaceData allows overwriting the data of a node on the disk.
	ReplaceData bool `yaml:"replaceData,omitempty"`
}

// InstallDisk identifies a disk of the computer. Exactly one must match.
type InstallDisk struct {
	// Serial is the serial number on its label.
	Serial string `yaml:"serial,omitempty"`
	// Model is a shell pattern that the disk's model name must match.
	Model string `yaml:"model,omitempty"`
	// Size is a number with its unit as on the label, "500GB", met within two
	// per cent, or a bound such as ">=400GB".
	Size string `yaml:"size,omitempty"`
	// Only means the one disk that the computer has besides the stick.
	Only bool `yaml:"only,omitempty"`
}

// String is for messages.
func (d InstallDisk) String() string {
	switch {
	case d.Only:
		return "the only one besides the stick"
	case d.Serial != "":
		return "serial " + d.Serial
	}
	return Disk{Model: d.Model, Size: d.Size}.String()
}

// Fits reports whether d matches a disk, other than the stick, with this serial number, with one of
// models as its model name, and with a size of bytes.
func (d InstallDisk) Fits(serial string, models []string, bytes int64) bool {
	switch {
	case d.Only:
		return true
	case d.Serial != "":
		return strings.EqualFold(d.Serial, serial)
	}
	return Disk{Model: d.Model, Size: d.Size}.Fits(nil, models, bytes)
}

// CheckInstall refuses to install an image with a partition table of scheme s unless that is GPT: a
// Raspberry Pi starts from its card, and no stick could make it start from another disk.
func CheckInstall(s contract.Scheme) error {
	if s != contract.GPT {
		return fmt.Errorf("is for computers with UEFI or BIOS: for a Raspberry Pi write the image onto its card, and take install: away")
	}
	return nil
}

func (v *validator) install(i *Install) {
	if i == nil {
		return
	}
	pattern := i.Disk.Model != "" || i.Disk.Size != ""
	ways := 0
	for _, set := range []bool{i.Disk.Serial != "", pattern, i.Disk.Only} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		v.refuse("install.disk", "say which disk by one of: serial, model and size, only: true")
	}
	if i.Disk.Serial != strings.TrimSpace(i.Disk.Serial) || strings.ContainsFunc(i.Disk.Serial, func(r rune) bool { return r < ' ' || r > '~' }) {
		v.refuse("install.disk.serial", "want the serial number on the disk's label")
	}
	if _, err := path.Match(i.Disk.Model, ""); err != nil {
		v.refuse("install.disk.model", "is no shell pattern like Samsung*")
	}
	if i.Disk.Size != "" {
		_, err := parseSize(i.Disk.Size)
		v.want("install.disk.size", err)
	}
}

// Installed is all that a stick knows once it has done its work: its node.yaml then contains this,
// and nothing else.
type Installed struct {
	Node string
	// DiskID is the GUID of the partition table that the stick wrote to the disk.
	DiskID string
}

const (
	installedWords = "# This stick has installed node %s on disk %s\n"
	// installedHead is how many bytes of the file are written first: one sector, which a power cut
	// leaves either old or new.
	installedHead = 512
)

// Text returns a node.yaml of size bytes in two parts, to be written one after the other. The first
// part holds everything there is to know. Whoever finds it knows that the rest, which may be old
// secrets, is to be overwritten.
func (i Installed) Text(size int) (head, rest []byte) {
	text := fmt.Appendf(nil, installedWords, i.Node, i.DiskID)
	text = append(text, "# and is of no more use: take it out. No computer starts from it any more. To use it again,\n# write the image onto it anew, with another node.yaml.\n"...)
	all := bytes.Repeat([]byte("\n"), max(size, len(text)))
	copy(all, text)
	at := min(installedHead, len(all))
	return all[:at], all[at:]
}

// ParseInstalled reads the node.yaml of a stick that has done its work, whole or only its first
// part.
func ParseInstalled(data []byte) (i Installed, ok bool) {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	n, err := fmt.Sscanf(string(line)+"\n", installedWords, &i.Node, &i.DiskID)
	return i, n == 2 && err == nil
}
