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

// Spool has one update that comes in pieces: a line between two sites breaks. It is
// known by the sha256 of its bytes.
type Spool interface {
	// Have is how many bytes of an update are there.
	Have(id string) (int64, error)
	// Keep forgets every other update, and what was noted of this one.
	Keep(id string) error
	// Append adds to it, and keeps what came where r breaks off.
	Append(id string, r io.Reader) error
	Open(id string) (io.ReadCloser, error)
	// Done notes what became of an update, and forgets its bytes; Note is nil where
	// nothing was noted.
	Done(id string, note []byte) error
	Note(id string) ([]byte, error)
	// Drop forgets every update.
	Drop() error
}

// What came is put onto the medium after so many bytes, and looked at while its
// manifest is not known: that is early in it.
const (
	pieceSize = 1 << 20
	lookSize  = 64 << 10
)

// Progress tells how far the update with an ID is. It changes nothing: another one may
// be on its way.
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

// Receive adds to the update with an ID what follows its first bytes, which are there,
// and applies it when it is whole. What speaks against it is said as soon as its
// manifest is there: the rest may take hours. For the same reason what is whole stays
// where it cannot be applied now: the next try sends nothing.
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

// lockFor waits where the same update is under way: the line that brought it broke, and
// the process at its end knows nothing of it, or applies what it has.
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

// spoilt is why an update is of no use, however often it is sent.
type spoilt struct{ error }

func (s spoilt) Unwrap() error { return s.error }

// incoming is an update on its way.
type incoming struct {
	host  firstboot.Host
	slots Slots
	spool Spool
	id    string
	fresh bool // nothing of it was here
}

func (in incoming) receive(ctx context.Context, r io.Reader) (*Result, error) {
	for size := int64(0); ; {
		piece := &io.LimitedReader{R: r, N: lookSize}
		if size > 0 {
			have, err := in.spool.Have(in.id)
			if err != nil {
				return nil, err
			}
			if have >= size { // whoever sends more fills no disk
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

// look refuses what its manifest speaks against, and tells how long all of it is; a
// result is that of an update that the node runs.
func (in incoming) look(ctx context.Context) (*Result, int64, error) {
	u, done, err := in.open()
	if err != nil {
		return nil, 0, err
	}
	defer done()
	if same, err := u.same(); err != nil {
		return nil, 0, err
	} else if same {
		r, err := u.stays()
		return r, 0, err
	}
	if _, err := u.accepts(ctx); err != nil {
		return nil, 0, err
	}
	return nil, u.in.Length, in.refuseRoom(u)
}

// refused lets go of what hardly began. What took hours to come stays: what is in its
// way now, as a cluster that does not answer, may not be later.
func (in incoming) refused(err error) error {
	if err != nil && in.fresh {
		return spoilt{err}
	}
	return err
}

// open reads what is there, as far as its manifest.
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

// refuseRoom wants room for what is still to come.
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

// apply wants the whole of it, byte for byte.
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

// note keeps the result for a sender whose line broke meanwhile.
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

// short tells what ended too early from what is not what was sent.
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
