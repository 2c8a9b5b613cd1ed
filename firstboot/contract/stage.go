package contract

import (
	"fmt"
	"strings"
)

// StageFile, in the root directory of the boot partition, tells how far the
// last boot came, for those who have only the card of a dead node. U-Boot's
// script, the initramfs and firstboot overwrite it in turn.
const StageFile = "STAGE.TXT"

// StageSize is the fixed length of the file, in bytes; the image already has it
// at that length. It is one sector, which a power cut leaves either old or new.
const StageSize = 512

// Stage is the content of StageFile.
type Stage struct {
	// Reached says in words how far it came, for a person on the phone.
	Reached string `json:"reached,omitempty"`
	// Revision is the board's, as a Pi's firmware told U-Boot; "" if another
	// loader started the kernel.
	Revision string `json:"revision,omitempty"`
	// UBoot is the version of the U-Boot that ran; "" if another loader started
	// the kernel.
	UBoot string `json:"uBoot,omitempty"`
	// Kernel is the release of the kernel that ran, "" if none did.
	Kernel string `json:"kernel,omitempty"`
}

const stageHead = "# How far the last start of this server came. The server writes it.\n"

// fields lists the fields in their order, by the names that U-Boot's script
// also uses.
func (s *Stage) fields() []stageField {
	return []stageField{{"stage", &s.Reached}, {"revision", &s.Revision}, {"uboot", &s.UBoot}, {"kernel", &s.Kernel}}
}

type stageField struct {
	name  string
	value *string
}

// Encode returns StageSize bytes: assignments in the text form of U-Boot's
// environment, padded with newlines, which its "env import -t" skips.
func (s Stage) Encode() []byte {
	text := stageHead
	for _, f := range s.fields() {
		line := fmt.Sprintf("%s=%s\n", f.name, PlainLine(*f.value))
		if *f.value != "" && len(text)+len(line) <= StageSize {
			text += line
		}
	}
	return []byte(text + strings.Repeat("\n", StageSize-len(text)))
}

// ParseStage reads the file, whoever wrote it; U-Boot pads with zeros. What is
// missing is "".
func ParseStage(data []byte) Stage {
	var s Stage
	text, _, _ := strings.Cut(string(data), "\x00")
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, "=")
		for _, f := range s.fields() {
			if f.name == name {
				*f.value = PlainLine(value)
			}
		}
	}
	return s
}
