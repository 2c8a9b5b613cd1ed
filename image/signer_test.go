package image

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/overlays"
)

func newSigner(t *testing.T) *authenticode.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := authenticode.New(
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTheSignerIsAnInput: another key makes another image; a board that wants one
// gets one, and none that could not use it.
func TestTheSignerIsAnInput(t *testing.T) {
	planned := func(name string, own bool, s *authenticode.Signer) (*plan, error) {
		b, err := board.Load(name, boards.FS)
		if err != nil {
			t.Fatal(err)
		}
		if own {
			b.SecureBoot, b.BIOS = board.SignedByOwner, false
		}
		return newPlan(Options{Board: b, OverlayFS: overlays.FS, Signer: s})
	}
	seen := map[string]bool{}
	for _, s := range []*authenticode.Signer{nil, newSigner(t), newSigner(t)} {
		p, err := planned("generic-amd64", false, s)
		if err != nil {
			t.Fatal(err)
		}
		if b := p.opt.Board; s != nil && (b.SecureBoot != board.SignedByOwner || b.BIOS) {
			t.Errorf("the board is signed by %s, BIOS %v", b.SecureBoot, b.BIOS)
		}
		if seen[p.data] {
			t.Error("with another signer nothing is another")
		}
		seen[p.data] = true
	}
	if _, err := planned("generic-amd64", true, nil); err == nil || !strings.Contains(err.Error(), "needs a key: --sign") {
		t.Errorf("without a key: %v", err)
	}
	if _, err := planned("rpi4", false, newSigner(t)); err == nil || !strings.Contains(err.Error(), "checks no signature") {
		t.Errorf("a Pi: %v", err)
	}
}
