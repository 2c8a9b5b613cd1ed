package contract

import (
	"fmt"
	"time"
)

// UpdateResult is what a node reports about an update that it took.
type UpdateResult struct {
	// Installed is false if the node already runs this image.
	Installed bool   `json:"installed"`
	Slot      string `json:"slot"`
	Version   string `json:"version"`
	// TakenBack means that another system waited for the next start; now the next start
	// is that of this one again.
	TakenBack bool `json:"takenBack,omitempty"`
	// Fetched is the size of the update, in bytes.
	Fetched int64 `json:"fetched"`
}

func (r UpdateResult) String() string {
	switch {
	case r.TakenBack:
		return fmt.Sprintf("what waited for the next start is taken back: this node runs %s, in slot %s, and goes on with it", r.Version, r.Slot)
	case !r.Installed:
		return fmt.Sprintf("this node runs %s already, in slot %s: nothing was done", r.Version, r.Slot)
	}
	return fmt.Sprintf("slot %s has %s, and is tried at the next start", r.Slot, r.Version)
}

// UpdateProgress is what a node reports about an update that comes in pieces.
type UpdateProgress struct {
	// Have is how much of the update is there, in bytes; -1 if no node has said.
	Have int64 `json:"have"`
	// Done is what became of the update when it was last complete, and At when that was,
	// by the node's clock: the connection may have failed before the node could report
	// it.
	Done *UpdateResult `json:"done,omitempty"`
	At   time.Time     `json:"at,omitzero"`
}
