package wear_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/wear"
)

// slot is a partition with a root, its hash tree and digest, and remains of an older root.
func slot(used int) []byte {
	root := make([]byte, contract.RootSize(int64(used)))
	for i := range used {
		root[i] = byte(i * i)
	}
	copy(root, "hsqs")
	binary.LittleEndian.PutUint64(root[40:], uint64(used))
	tree := bytes.Repeat([]byte("tree"), contract.RootPage/4)
	sum := contract.RootSum{Size: int64(len(root)), SHA256: sha256.Sum256(append(bytes.Clone(root), tree...)), Tree: int64(len(tree))}
	return append(append(append(root, sum.Encode()...), tree...), bytes.Repeat([]byte("old"), 9999)...)
}

func TestCheck(t *testing.T) {
	const used = 3*contract.RootPage - 100
	whole := slot(used)
	if err := wear.Check(t.Context(), bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	whole[len(whole)-1] ^= 1
	if err := wear.Check(t.Context(), bytes.NewReader(whole)); err != nil {
		t.Errorf("what lies behind is no part of it: %v", err)
	}
	for _, at := range []int{0, 3, 40, 46, 96, contract.RootPage, used - 1, used, 3*contract.RootPage - 1, 3 * contract.RootPage, 3*contract.RootPage + 40, 4*contract.RootPage - 1, 4 * contract.RootPage, 5*contract.RootPage - 1} {
		worn := bytes.Clone(whole)
		worn[at] ^= 0x10
		if err := wear.Check(t.Context(), bytes.NewReader(worn)); !errors.Is(err, wear.ErrDamaged) {
			t.Errorf("a bit at %d has flipped: %v", at, err)
		}
	}
	for name, s := range map[string][]byte{
		"no digest": whole[:3*contract.RootPage],
		"zeros":     make([]byte, len(whole)),
	} {
		if err := wear.Check(t.Context(), bytes.NewReader(s)); !errors.Is(err, wear.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// broken cannot be read from an offset on.
type broken struct {
	io.ReaderAt
	from int64
}

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.from {
		return 0, iotest.ErrTimeout
	}
	return b.ReaderAt.ReadAt(p, off)
}

func TestCheckOfAMediumThatCannotBeRead(t *testing.T) {
	whole := slot(3 * contract.RootPage)
	for _, from := range []int64{10, 2 * contract.RootPage, 3*contract.RootPage + 1} {
		if err := wear.Check(t.Context(), broken{bytes.NewReader(whole), from}); !errors.Is(err, iotest.ErrTimeout) {
			t.Errorf("from %d on: %v", from, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(slot(100))
	f.Fuzz(func(t *testing.T, data []byte) { _ = wear.Check(t.Context(), bytes.NewReader(data)) })
}

func TestCheckEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := wear.Check(ctx, bytes.NewReader(slot(100))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
