package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
)

// Answer is a node's answer to an update.
type Answer struct {
	Node string `json:"node"`
	// Installed is false if the node runs this image already.
	Installed bool   `json:"installed"`
	Slot      string `json:"slot"`
	Version   string `json:"version"`
	// TakenBack says that another system was due at the next start, and no longer is.
	TakenBack bool `json:"takenBack,omitempty"`
	// Fetched is how much was transferred, in bytes.
	Fetched int64 `json:"fetched"`
}

// Push sends the update in a file to a node, and returns when the node has installed it. If
// the connection breaks, Push continues from what the node already has.
func Push(ctx context.Context, f *fleet.Fleet, s inquiry.Subject, file string) (a Answer, err error) {
	p := pusher{pause: ctxio.Sleep, tell: func(ctx context.Context, command string, input io.Reader) ([]byte, error) {
		return inquiry.Tell(ctx, f, s, command, input)
	}}
	a, err = p.push(ctx, file)
	a.Node = s.Node
	return a, err
}

// Rollback makes a node try the system before its last update at its next start.
func Rollback(ctx context.Context, f *fleet.Fleet, s inquiry.Subject) (a Answer, err error) {
	out, err := inquiry.Tell(ctx, f, s, contract.TellRollback, nil)
	if err != nil {
		return a, errors.New(contract.PlainLine(err.Error()))
	}
	a, err = readAnswer(out)
	a.Node = s.Node
	return a, err
}

// pusher sends a file over a connection that may break.
type pusher struct {
	// tell runs a command on the node with an input.
	tell  func(ctx context.Context, command string, input io.Reader) ([]byte, error)
	pause func(context.Context, time.Duration) error
}

// A broken connection usually comes back within seconds, over a modem within minutes.
const (
	firstPause = 2 * time.Second
	lastPause  = 2 * time.Minute // about four minutes in total
)

// push gives up if the node has received nothing more since the last attempt. The last error
// then says that the node refuses the update, or that the connection does not come back. If
// the connection broke while the node installed the update, the node's next answer says what
// became of it.
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
	first, err := p.ask(ctx, id)
	for have := first.Have; err == nil; {
		if _, err = file.Seek(have, io.SeekStart); err != nil {
			return a, err
		}
		var out []byte
		if out, err = p.tell(ctx, contract.TellUpdate(id, have), file); err == nil {
			return readAnswer(out)
		}
		now, gone := p.askAgain(ctx, id)
		if gone == nil && now.Done != nil && !now.At.Equal(first.At) {
			return answer(*now.Done), nil
		}
		if gone != nil || now.Have <= have {
			break
		}
		have, err = now.Have, nil
	}
	return a, errors.New(contract.PlainLine(err.Error()))
}

// ask asks how much of the update the node has.
func (p pusher) ask(ctx context.Context, id string) (contract.UpdateProgress, error) {
	out, err := p.tell(ctx, contract.AskUpdate(id), nil)
	if err != nil {
		return contract.UpdateProgress{}, err
	}
	there := contract.UpdateProgress{Have: -1}
	if err := json.Unmarshal(out, &there); err != nil || there.Have < 0 {
		return contract.UpdateProgress{}, errNoUpdates
	}
	return there, nil
}

var errNoUpdates = errors.New("the answer tells of no update: its image is older than updates are")

// askAgain waits for the connection to come back.
func (p pusher) askAgain(ctx context.Context, id string) (there contract.UpdateProgress, err error) {
	for d := firstPause; d <= lastPause; d *= 2 {
		if err := p.pause(ctx, d); err != nil {
			return there, err
		}
		if there, err = p.ask(ctx, id); err == nil {
			return there, nil
		}
	}
	return there, err
}

func readAnswer(out []byte) (Answer, error) {
	var r contract.UpdateResult
	if err := json.Unmarshal(out, &r); err != nil || r.Version == "" {
		return Answer{}, errNoUpdates
	}
	return answer(r), nil
}

func answer(r contract.UpdateResult) Answer {
	return Answer{Installed: r.Installed, Slot: contract.PlainLine(r.Slot), Version: contract.PlainLine(r.Version), TakenBack: r.TakenBack, Fetched: r.Fetched}
}
