package update

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
)

// Answer is what a node says of an update.
type Answer struct {
	Node string `json:"node"`
	// Installed is false where the node runs this image already.
	Installed bool   `json:"installed"`
	Slot      string `json:"slot"`
	Version   string `json:"version"`
	// Fetched is in bytes.
	Fetched int64 `json:"fetched"`
}

// Push hands the update in a file to a node, and returns when that has it in place.
func Push(ctx context.Context, f *fleet.Fleet, s inquiry.Subject, file string) (a Answer, err error) {
	in, err := os.Open(file)
	if err != nil {
		return a, err
	}
	defer in.Close()
	out, err := inquiry.Tell(ctx, f, s, "firstboot update --json -", in)
	if err != nil {
		return a, errors.New(contract.PlainLine(err.Error()))
	}
	if err := json.Unmarshal(out, &a); err != nil || a.Version == "" {
		return a, errors.New("the answer tells of no update: its image is older than updates are")
	}
	return Answer{s.Node, a.Installed, contract.PlainLine(a.Slot), contract.PlainLine(a.Version), a.Fetched}, nil
}
