// Package artifacttest makes the ingredients of updates for tests.
package artifacttest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
)

// Noise returns bytes that can hardly be compressed. The same seed gives the same bytes.
func Noise(size int, seed byte) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// Text returns bytes that compress well. The same seed gives the same bytes, and different seeds
// have most lines in common.
func Text(size int, seed byte) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for line := 0; b.Len() < size; line++ {
		word := r.Uint32()
		if line%50 == 7 {
			word += uint32(seed)
		}
		fmt.Fprintf(&b, "%d: %08x\n", line, word)
	}
	return b.Bytes()[:size]
}

// Block returns a compressed block of a root, whose content is raw.
func Block(raw []byte) []byte {
	enc, err := codec.NewEncoder()
	if err != nil {
		panic(err)
	}
	return enc.EncodeAll(raw, nil)
}

// Packed returns a compressed section of a boot file, whose content is raw.
func Packed(form codec.Form, raw []byte) []byte {
	var b bytes.Buffer
	w, err := form.NewWriter(&b)
	if err == nil {
		_, err = w.Write(raw)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Keys returns an owner's keys. The same seed gives the same keys.
func Keys(t testing.TB, seed byte) (minisign.PublicKey, minisign.PrivateKey) {
	t.Helper()
	public, private, err := minisign.GenerateKey(bytes.NewReader(Noise(64, seed)))
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}
