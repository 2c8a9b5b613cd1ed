package contract

import (
	"encoding/json"
	"fmt"
)

// OwnerFile on /var has the name of the node whose identity is there.
const OwnerFile = "var/lib/imagebuilder/firstboot/owner"

// State is the content of StateFile.
type State struct {
	Slot      string `json:"slot"`
	Trial     bool   `json:"trial"`
	Disk      string `json:"disk"`               // kernel name, such as mmcblk1
	DiskID    string `json:"diskId"`             // GPT GUID or MBR signature
	DataDisk  string `json:"dataDisk,omitempty"` // kernel name, if /var is on another disk
	Formatted bool   `json:"formatted"`          // the file system of /var was made in this boot
	Repaired  bool   `json:"repaired"`           // e2fsck changed something
	Watchdog  int    `json:"watchdogSeconds"`
	Clock     bool   `json:"clockSet"` // the clock was earlier than the build, and was set
}

// Encode returns the state as text.
func (s State) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// ParseState reads such a text.
func ParseState(data []byte) (s State, err error) {
	if err := json.Unmarshal(data, &s); err != nil {
		return State{}, fmt.Errorf("/%s: %w", StateFile, err)
	}
	return s, nil
}
