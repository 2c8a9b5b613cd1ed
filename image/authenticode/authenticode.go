// Package authenticode signs EFI programs with the owner's key, and makes the variable
// updates by which firmware learns to trust that key (Microsoft, "Windows Authenticode
// Portable Executable Signature Format"; UEFI 2.10, chapters 8 and 32).
//
// The same program, key and certificate give the same bytes: a signature contains no time.
// The package refuses keys that firmware cannot use, and programs that are already signed.
package authenticode

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Signer is a key and its certificate.
type Signer struct {
	key  crypto.Signer
	cert *x509.Certificate
}

// leastBits is the only key size that all firmware supports: most supports RSA-2048 only,
// some supports longer keys (UEFI 2.10, 32.4.1).
const leastBits = 2048

// New reads a key (PKCS #1 or #8) and a certificate, each in PEM form.
func New(key, cert []byte) (*Signer, error) {
	k, err := readKey(key)
	if err != nil {
		return nil, fmt.Errorf("the key: %w", err)
	}
	c, public, err := ReadCertificate(cert)
	if err != nil {
		return nil, err
	}
	if !k.PublicKey.Equal(public) {
		return nil, errors.New("the certificate is of another key")
	}
	return &Signer{k, c}, nil
}

// NewOf returns a Signer for a key that is kept elsewhere; c must be its certificate. key
// must sign with RSA PKCS #1 v1.5, which gives the same signature for the same data.
func NewOf(key crypto.Signer, c *x509.Certificate) *Signer { return &Signer{key, c} }

// ReadCertificate reads a certificate in PEM form and returns it with its public key.
func ReadCertificate(data []byte) (*x509.Certificate, *rsa.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, nil, errors.New("the certificate: not in PEM form")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("the certificate: %w", err)
	}
	public, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, nil, errors.New("the certificate: firmware reads RSA alone")
	}
	if public.N.BitLen() < leastBits {
		return nil, nil, fmt.Errorf("the certificate: its key has %d bits, and firmware wants RSA-%d", public.N.BitLen(), leastBits)
	}
	return c, public, nil
}

func readKey(data []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("not in PEM form")
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, errors.New("it is locked by a password, or none of PKCS #1 and #8")
		}
		var ok bool
		if key, ok = any.(*rsa.PrivateKey); !ok {
			return nil, errors.New("firmware reads RSA alone")
		}
	}
	if key.N.BitLen() < leastBits {
		return nil, fmt.Errorf("%d bits, and firmware wants RSA-%d", key.N.BitLen(), leastBits)
	}
	return key, nil
}

// Fingerprint is the SHA-256 of the certificate.
func (s *Signer) Fingerprint() [sha256.Size]byte { return sha256.Sum256(s.cert.Raw) }

// Name is the certificate's subject.
func (s *Signer) Name() string { return s.cert.Subject.String() }

// Certificate is the certificate in DER form, which firmware setups can read.
func (s *Signer) Certificate() []byte { return s.cert.Raw }

func (s *Signer) sign(data []byte) ([]byte, error) {
	sum := sha256.Sum256(data)
	return s.key.Sign(nil, sum[:], crypto.SHA256) // PKCS #1 v1.5 needs no random source
}
