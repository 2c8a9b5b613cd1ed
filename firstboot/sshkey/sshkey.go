// Package sshkey makes private keys for ssh in OpenSSH's format, without ssh-keygen, so that the
// caller can write a key file atomically.
//
// It is a leaf. There is no RSA: a Pi needs seconds for such a key, and every client of the last
// decade knows the other two kinds.
package sshkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/pem"
	"io"

	"golang.org/x/crypto/ssh"
)

// NewEd25519 returns a new Ed25519 key.
func NewEd25519(random io.Reader) ([]byte, error) {
	_, key, err := ed25519.GenerateKey(random)
	return text(key, err)
}

// NewECDSA returns a new ECDSA key on the curve P-256.
func NewECDSA(random io.Reader) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	return text(key, err)
}

func text(key crypto.PrivateKey, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}

// Public returns the content of the .pub file of a private key.
func Public(private []byte) ([]byte, error) {
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return nil, err
	}
	return ssh.MarshalAuthorizedKey(signer.PublicKey()), nil
}
