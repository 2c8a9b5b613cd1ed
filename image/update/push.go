package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

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
// Where the line breaks it goes on from what the node has.
func Push(ctx context.Context, f *fleet.Fleet, s inquiry.Subject, file string) (a Answer, err error) {
	p := pusher{pause: pause, tell: func(ctx context.Context, command string, input io.Reader) ([]byte, error) {
		return inquiry.Tell(ctx, f, s, command, input)
	}}
	a, err = p.push(ctx, file)
	a.Node = s.Node
	return a, err
}

// Rollback makes a node try the system before its last update at the next start.
func Rollback(ctx context.Context, f *fleet.Fleet, s inquiry.Subject) (a Answer, err error) {
	out, err := inquiry.Tell(ctx, f, s, "firstboot update --json --rollback", nil)
	if err != nil {
		return a, errors.New(contract.PlainLine(err.Error()))
	}
	a, err = readAnswer(out)
	a.Node = s.Node
	return a, err
}

// pusher sends a file over a line.
type pusher struct {
	// tell runs a command on the node with an input.
	tell  func(ctx context.Context, command string, input io.Reader) ([]byte, error)
	pause func(context.Context, time.Duration) error
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// A line that was there comes back after seconds, a modem after minutes.
const (
	firstPause = 2 * time.Second
	lastPause  = 2 * time.Minute // in all about four minutes
)

// push gives up when the node has nothing more than before: that it refuses the update,
// or the line does not come back, says the last fault.
func (p pusher) push(ctx context.Context, name string) (a Answer, err error) {
	file, err := os.Open(name)
	if err != nil {
		return a, err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return a, err
	}
	id := hex.EncodeToString(h.Sum(nil))
	have, err := p.have(ctx, id)
	for err == nil {
		if _, err = file.Seek(have, io.SeekStart); err != nil {
			return a, err
		}
		var out []byte
		command := fmt.Sprintf("firstboot update --json --id %s --from %d -", id, have)
		if out, err = p.tell(ctx, command, file); err == nil {
			return readAnswer(out)
		}
		now, gone := p.haveAgain(ctx, id)
		if gone != nil || now <= have {
			break
		}
		have, err = now, nil
	}
	return a, errors.New(contract.PlainLine(err.Error()))
}

// have asks how much of the update the node has.
func (p pusher) have(ctx context.Context, id string) (int64, error) {
	out, err := p.tell(ctx, "firstboot update --id "+id, nil)
	if err != nil {
		return 0, err
	}
	var answer struct{ Have *int64 }
	if err := json.Unmarshal(out, &answer); err != nil || answer.Have == nil || *answer.Have < 0 {
		return 0, errNoUpdates
	}
	return *answer.Have, nil
}

var errNoUpdates = errors.New("the answer tells of no update: its image is older than updates are")

// haveAgain waits for the line.
func (p pusher) haveAgain(ctx context.Context, id string) (have int64, err error) {
	for d := firstPause; d <= lastPause; d *= 2 {
		if err := p.pause(ctx, d); err != nil {
			return 0, err
		}
		if have, err = p.have(ctx, id); err == nil {
			return have, nil
		}
	}
	return 0, err
}

func readAnswer(out []byte) (a Answer, err error) {
	if err := json.Unmarshal(out, &a); err != nil || a.Version == "" {
		return Answer{}, errNoUpdates
	}
	return Answer{Installed: a.Installed, Slot: contract.PlainLine(a.Slot), Version: contract.PlainLine(a.Version), Fetched: a.Fetched}, nil
}
