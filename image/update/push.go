package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
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

// Fit refuses nodes of the fleet that have other boards than the image's, before it
// is packed.
func (i *Image) Fit(f *fleet.Fleet, names []string) error {
	for _, name := range names {
		if n, _ := f.Nodes.Get(name); n.Board != i.Label.Board {
			return fmt.Errorf("the board of %s is %s, %s is for %s", name, n.Board, i.File, i.Label.Board)
		}
	}
	return nil
}

// Subjects are the nodes of these names, all of which must be there.
func Subjects(f *fleet.Fleet, rows []roster.Row, names []string) (all []inquiry.Subject, err error) {
	for _, name := range names {
		if _, err := f.Find(name); err != nil {
			return nil, err
		}
		at := slices.IndexFunc(rows, func(r roster.Row) bool { return r.Node == name })
		if at < 0 || rows[at].State != roster.Online || !rows[at].Address.IsValid() {
			return nil, fmt.Errorf("%s is not there: Headscale does not see it ('imagebuilder status'); nothing was done", name)
		}
		r := rows[at]
		all = append(all, inquiry.Subject{Node: r.Node, Number: string(r.Number), Address: r.Address})
	}
	return all, nil
}

// Push hands the update in a file to a node, and returns when that has it in place.
func Push(ctx context.Context, f *fleet.Fleet, s inquiry.Subject, file string, reboot bool) (a Answer, err error) {
	in, err := os.Open(file)
	if err != nil {
		return a, err
	}
	defer in.Close()
	command := "firstboot update --json -"
	if reboot {
		command = "firstboot update --json --reboot -"
	}
	out, err := inquiry.Tell(ctx, f, s, command, in)
	if err != nil {
		return a, fmt.Errorf("%s: %s", s.Node, contract.PlainLine(err.Error()))
	}
	if err := json.Unmarshal(out, &a); err != nil || a.Version == "" {
		return a, errors.New(s.Node + ": the answer tells of no update: its image is older than updates are")
	}
	return Answer{s.Node, a.Installed, contract.PlainLine(a.Slot), contract.PlainLine(a.Version), a.Fetched}, nil
}
