package contract

import (
	"fmt"
	"time"
)

// UpdateResult is what a node says of an update that it took.
type UpdateResult struct {
	// Installed is false where the node runs this image already.
	Installed bool   `json:"installed"`
	Slot      string `json:"slot"`
	Version   string `json:"version"`
	// TakenBack says that another system waited for the next start, which is now that of
	// this one.
	TakenBack bool `json:"takenBack,omitempty"`
	// Fetched is how long the update was, in bytes.
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

// UpdateProgress is what a node says of an update that comes in pieces.
type UpdateProgress struct {
	// Have is how much of it is there, in bytes; -1 in what no node said.
	Have int64 `json:"have"`
	// Done is what became of it when it last was whole, at a time by the node's clock:
	// the line may have broken before the node could say so.
	Done *UpdateResult `json:"done,omitempty"`
	At   time.Time     `json:"at,omitzero"`
}
