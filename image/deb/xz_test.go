package deb

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

func xzCompress(t testing.TB, data []byte, args ...string) []byte {
	return []byte(run(t, bytes.NewReader(data), "xz", append([]string{"-c"}, args...)...))
}

func readXZ(b []byte) ([]byte, error) {
	r, err := newXZReader(context.Background(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func testData(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, n)
	for i := range data {
		data[i] = "abcdefgh"[r.IntN(8)]
	}
	return data
}

// TestXZ decodes what xz(1) makes in every shape.
func TestXZ(t *testing.T) {
	data := testData(300_000)
	for _, c := range []struct {
		args   string
		blocks bool // decoded side by side
	}{
		{"-6", false},
		{"-T2 --block-size=65536", true},
		{"-T2 --block-size=65536 --check=crc32", true},
		{"-T2 --block-size=65536 --check=sha256", true},
		{"-T2 --block-size=65536 --check=none", true},
		{"-T2 --block-size=1000", true},
		{"-T1 --block-size=65536", true}, // no sizes in the block headers
		{"-T2 --block-size=65536 --x86 --lzma2", true},
		{"-T2 --block-size=10000 -0", true},
	} {
		b := xzCompress(t, data, strings.Fields(c.args)...)
		if _, ok := readXZLayout(bytes.NewReader(b), int64(len(b))); ok != c.blocks {
			t.Errorf("xz %s: blocks found: %v", c.args, ok)
		}
		got, err := readXZ(b)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("xz %s: %d bytes, %v", c.args, len(got), err)
		}
		two, err := readXZ(append(bytes.Clone(b), b...))
		if err != nil || len(two) != 2*len(data) {
			t.Errorf("xz %s, two streams: %d bytes, %v", c.args, len(two), err)
		}
	}
}

// TestXZDamaged flips bytes of a file of many blocks: never other data
// without an error.
func TestXZDamaged(t *testing.T) {
	data := testData(60_000)
	b := xzCompress(t, data, "-T2", "--block-size=5000")
	for range 1000 {
		bad := bytes.Clone(b)
		bad[rand.IntN(len(bad))] ^= 1 << rand.IntN(8)
		if got, err := readXZ(bad); err == nil && !bytes.Equal(got, data) {
			t.Fatal("other data without an error")
		}
	}
}

// TestXZClose stops in the middle of a file.
func TestXZClose(t *testing.T) {
	b := xzCompress(t, testData(1<<20), "-T2", "--block-size=65536")
	r, err := newXZReader(t.Context(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("reading a closed file works")
	}
}
