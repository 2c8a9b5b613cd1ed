// Package artifacttest makes what tests of updates are made of.
package artifacttest

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"aead.dev/minisign"
)

// Noise is bytes of which compression leaves most, the same for the same seed.
func Noise(size int, seed byte) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
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
