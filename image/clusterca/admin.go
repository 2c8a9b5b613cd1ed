package clusterca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"slices"
	"time"
)

// Admin makes a client certificate with which the owner has full access to the cluster's API
// until it expires, followed by its chain: so a kubeconfig needs no login to a server. user
// becomes the name in the API server's audit log.
func (f Files) Admin(user string, now time.Time, valid time.Duration, random io.Reader) (Pair, error) {
	by, _, err := f.signer(clientCA)
	if err != nil {
		return Pair{}, fmt.Errorf("%s: %w", clientCA, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return Pair{}, err
	}
	now = now.UTC().Truncate(time.Second)
	t := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{"system:masters"}, CommonName: user},
		NotBefore:   now.Add(-5 * time.Minute), // clocks differ
		NotAfter:    now.Add(valid),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	s, err := factory{now: now, random: random}.sign(t, key, by)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: slices.Concat(s.pem.Cert, f[clientCA+".crt"]), Key: s.pem.Key}, nil
}

// ServerCA returns the certificates that a client of the API trusts.
func (f Files) ServerCA() []byte { return f[serverCA+".crt"] }
