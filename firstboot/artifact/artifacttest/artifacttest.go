// Package artifacttest makes what tests of updates are made of.
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

// Noise is bytes of which compression leaves most, the same for the same seed.
func Noise(size int, seed byte) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// Text is what compression makes much smaller, the same for the same seed. What a
// number of lines have in common is not the seed's.
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

// Block is a root's, with raw in it.
func Block(raw []byte) []byte {
	enc, err := codec.NewEncoder()
	if err != nil {
		panic(err)
	}
	return enc.EncodeAll(raw, nil)
}

// Packed is a boot file's, with raw in it.
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

// Keys are an owner's, the same for the same seed.
func Keys(t testing.TB, seed byte) (minisign.PublicKey, minisign.PrivateKey) {
	t.Helper()
	public, private, err := minisign.GenerateKey(bytes.NewReader(Noise(64, seed)))
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}
