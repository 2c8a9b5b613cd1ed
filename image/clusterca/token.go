package clusterca

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// For whom a token is: the user in it, between its hash and its secret.
const (
	ServerToken = "server"
	AgentToken  = "node"
)

// NewSecret returns the secret part of a token: 160 random bits, in letters that can be read
// out over the phone.
func NewSecret(random io.Reader) (string, error) {
	b := make([]byte, 20)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", err
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)), nil
}

// Token returns K10<hash>::<user>:<secret>. A node sends this token only to servers of this
// cluster, as the hash pins its authority: with a certificate chain, the hash is the SHA-256
// of the root's DER; with a single certificate it would be that of the file (k3s 1.36,
// pkg/clientaccess/token.go).
func (f Files) Token(user, secret string) (string, error) {
	chain, err := certificates(f[serverCA+".crt"])
	if err != nil {
		return "", fmt.Errorf("%s.crt: %w", serverCA, err)
	}
	sum := sha256.Sum256(chain[len(chain)-1].Raw)
	return "K10" + hex.EncodeToString(sum[:]) + "::" + user + ":" + secret, nil
}
