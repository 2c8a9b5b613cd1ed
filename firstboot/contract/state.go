package contract

import (
	"encoding/json"
	"fmt"
)

// OwnerFile on /var holds the name of the node that has its identity there.
const OwnerFile = "var/lib/imagebuilder/firstboot/owner"

// State is the content of StateFile.
type State struct {
	Slot      string `json:"slot"`
	Trial     bool   `json:"trial"`
	Disk      string `json:"disk"`               // kernel name, such as mmcblk1
	DiskID    string `json:"diskId"`             // GPT GUID or MBR signature
	DataDisk  string `json:"dataDisk,omitempty"` // kernel name, where /var has a disk of its own
	Formatted bool   `json:"formatted"`          // what holds /var was made at this boot
	Repaired  bool   `json:"repaired"`           // e2fsck changed something
	Watchdog  int    `json:"watchdogSeconds"`
	Clock     bool   `json:"clockSet"` // the clock was before the build
}

// Encode returns the state as text.
func (s State) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// ParseState reads it.
func ParseState(data []byte) (s State, err error) {
	if err := json.Unmarshal(data, &s); err != nil {
		return State{}, fmt.Errorf("/%s: %w", StateFile, err)
	}
	return s, nil
}
