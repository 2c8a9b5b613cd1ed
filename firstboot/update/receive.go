package update

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
)

// Spool has one update that comes in pieces: a line between two sites breaks. It is
// known by the sha256 of its bytes.
type Spool interface {
	// Have is how many bytes of an update are there; of another one nothing is left.
	Have(id string) (int64, error)
	// Append adds to it, and keeps what came where r breaks off.
	Append(id string, r io.Reader) error
	Open(id string) (io.ReadCloser, error)
	Drop() error
}

// What came is put onto the medium after so many bytes, and looked at while its
// manifest is not known: that is early in it.
const (
	pieceSize = 1 << 20
	lookSize  = 64 << 10
)

// Receive adds to the update with an ID what follows its first bytes, which are there,
// and applies it when it is whole. What speaks against it is said as soon as its
// manifest is there: the rest may take hours.
func Receive(ctx context.Context, h firstboot.Host, s Slots, spool Spool, id string, from int64, r io.Reader) (result *Result, err error) {
	release, err := s.Lock()
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
	in := incoming{h, s, spool, id}
	line := &source{r: ctxio.Reader(ctx, r)}
	result, err = in.receive(ctx, line)
	if cut := line.err != nil || errors.Is(err, artifact.ErrTruncated); !cut {
		err = errors.Join(err, spool.Drop())
	}
	return result, err
}

// source remembers that it broke off.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// incoming is an update on its way.
type incoming struct {
	host  firstboot.Host
	slots Slots
	spool Spool
	id    string
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
				return result, err
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
	if same, err := u.same(); same || err != nil {
		return u.ranAlready(), 0, err
	}
	if _, err := u.accepts(ctx); err != nil {
		return nil, 0, err
	}
	return nil, u.in.Length, in.refuseRoom(u)
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
	return apply(ctx, in.host, in.slots, file, -1)
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
	return errors.New("the update was damaged on its way: its digest is wrong; send it again")
}
