package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
)

// Spool holds the one update that arrives in pieces, because a connection between two sites breaks.
// The ID of an update is the SHA-256 of its bytes, in hex.
type Spool interface {
	// Have returns how many bytes of an update have arrived.
	Have(id string) (int64, error)
	// Keep deletes every other update, and all notes.
	Keep(id string) error
	// Append adds the content of r. If r breaks off, what came before that is kept.
	Append(id string, r io.Reader) error
	Open(id string) (io.ReadCloser, error)
	// Done stores a note about the outcome of an update, and deletes its bytes. Note returns that
	// note, nil if there is none.
	Done(id string, note []byte) error
	Note(id string) ([]byte, error)
	// Drop deletes every update, and all notes.
	Drop() error
}

// pieceSize is how many bytes are written to the medium at a time. lookSize takes its place, and
// the manifest is looked for after each piece, until it is there: it comes early in the update.
const (
	pieceSize = 1 << 20
	lookSize  = 64 << 10
)

// Progress reports how much of the update with this ID has arrived, and its result if it is done.
// It changes nothing: another update may be under way.
func Progress(spool Spool, id string) (p contract.UpdateProgress, err error) {
	note, err := spool.Note(id)
	if err != nil {
		return p, err
	}
	if note != nil {
		if err := json.Unmarshal(note, &p); err != nil {
			return p, fmt.Errorf("what was noted of the last update: %w", err)
		}
	}
	p.Have, err = spool.Have(id)
	return p, err
}

// Receive appends r to the update with this ID, of which the node has the first from bytes, and
// applies the update when it is complete. Whatever the manifest rules out is refused as soon as the
// manifest has arrived: the rest may take hours. For the same reason a complete update that cannot
// be applied now stays in the spool: the next try sends nothing.
func Receive(ctx context.Context, h firstboot.Host, s Slots, spool Spool, id string, from int64, r io.Reader) (result *Result, err error) {
	release, err := lockFor(ctx, h.Clock, s, spool, id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	have, err := spool.Have(id)
	if err != nil {
		return nil, err
	}
	if have != from {
		return nil, fmt.Errorf("this node has %d bytes of the update, not %d: go on from there", have, from)
	}
	if err := spool.Keep(id); err != nil {
		return nil, err
	}
	in := incoming{host: h, slots: s, spool: spool, id: id, fresh: from == 0}
	result, err = in.receive(ctx, ctxio.Reader(ctx, r))
	switch {
	case err == nil:
		err = in.note(result)
	case errors.As(err, &spoilt{}):
		err = errors.Join(err, spool.Drop())
	}
	return result, err
}

// lockFor waits while the same update is being handled by another process: the connection that
// brought it broke, and that process does not know this yet, or applies what it has.
func lockFor(ctx context.Context, clock firstboot.Clock, s Slots, spool Spool, id string) (release func() error, err error) {
	for {
		if release, err = s.Lock(); !errors.Is(err, ErrBusy) {
			return release, err
		}
		if have, herr := spool.Have(id); herr != nil || have == 0 {
			return nil, errors.Join(err, herr)
		}
		if err := clock.Sleep(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// spoilt wraps the reason why an update is useless, however often it is sent.
type spoilt struct{ error }

func (s spoilt) Unwrap() error { return s.error }

// incoming is an update that is arriving.
type incoming struct {
	host  firstboot.Host
	slots Slots
	spool Spool
	id    string
	fresh bool // the node had no byte of it before
}

func (in incoming) receive(ctx context.Context, r io.Reader) (*Result, error) {
	for size := int64(0); ; {
		piece := &io.LimitedReader{R: r, N: lookSize}
		if size > 0 {
			have, err := in.spool.Have(in.id)
			if err != nil {
				return nil, err
			}
			if have >= size { // a sender that sends more does not fill the disk
				return in.apply(ctx)
			}
			piece.N = min(pieceSize, size-have)
		}
		if err := in.spool.Append(in.id, piece); err != nil {
			return nil, err
		}
		ended := piece.N > 0
		if size == 0 {
			var result *Result
			var err error
			result, size, err = in.look(ctx)
			if result != nil || err != nil && !errors.Is(err, artifact.ErrTruncated) {
				return result, in.refused(err)
			}
		}
		if ended {
			return in.apply(ctx)
		}
	}
}

// look refuses an update that its manifest rules out, and returns the length of the whole update in
// bytes. A result is returned only if the node has that system already.
func (in incoming) look(ctx context.Context) (*Result, int64, error) {
	u, done, err := in.open()
	if err != nil {
		return nil, 0, err
	}
	defer done()
	if r, err := u.known(); r != nil || err != nil {
		return r, 0, err
	}
	if _, err := u.accepts(ctx); err != nil {
		return nil, 0, err
	}
	return nil, u.in.Length, in.refuseRoom(u)
}

// refused marks a refused update as spoilt if it had only begun to arrive. One that took hours to
// arrive stays: what stands in its way now, such as a cluster that does not answer, may be gone
// later.
func (in incoming) refused(err error) error {
	if err != nil && in.fresh {
		return spoilt{err}
	}
	return err
}

// open reads what has arrived, up to the end of the manifest.
func (in incoming) open() (u *update, done func() error, err error) {
	file, err := in.spool.Open(in.id)
	if err != nil {
		return nil, nil, err
	}
	if u, err = open(in.host, in.slots, file); err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return u, file.Close, nil
}

// refuseRoom requires room on /var for the rest of the update.
func (in incoming) refuseRoom(u *update) error {
	have, err := in.spool.Have(in.id)
	if err != nil {
		return err
	}
	_, room, err := u.Files.Space("/var")
	if err != nil {
		return err
	}
	if need := u.in.Length - have + atticRoom; room < need {
		return fmt.Errorf("/var has room for %d MB, the update needs %d MB until it is in place: remove what is not needed there", room>>20, need>>20)
	}
	return nil
}

// apply requires that the whole update has arrived, byte for byte.
func (in incoming) apply(ctx context.Context) (*Result, error) {
	sum, err := in.sum()
	if err != nil {
		return nil, err
	}
	if sum != in.id {
		return nil, in.short()
	}
	file, err := in.spool.Open(in.id)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return apply(ctx, in.host, in.slots, ctxio.Reader(ctx, file), -1)
}

// note keeps the result for a sender whose connection broke meanwhile.
func (in incoming) note(r *Result) error {
	note, err := json.Marshal(contract.UpdateProgress{Done: r, At: in.host.Clock.Now()})
	if err != nil {
		return err
	}
	return in.spool.Done(in.id, note)
}

func (in incoming) sum() (string, error) {
	file, err := in.spool.Open(in.id)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return hashed(file)
}

// short tells an update that ended too early from one that was damaged on its way.
func (in incoming) short() error {
	u, done, err := in.open()
	if err != nil {
		return err
	}
	defer done()
	if have, err := in.spool.Have(in.id); err != nil || have < u.in.Length {
		return errors.Join(err, artifact.ErrTruncated)
	}
	return spoilt{errors.New("the update was damaged on its way: its digest is wrong; send it again")}
}
