// Package clusterca makes the identity of a k3s cluster before any of its servers exists: a
// root and an intermediate certificate authority whose keys stay at home, the authorities
// with which k3s signs, and what can be derived from them: tokens that pin the cluster, and
// certificates for its owner.
//
// The layout is that of k3s' custom CA certificates (docs.k3s.io, "k3s certificate", and
// contrib/util/generate-custom-ca-certs.sh): files below server/tls in the data directory.
// If they exist before a server's first start, k3s uses them and never replaces them.
//
// The package does not read or write files, and knows no nodes or passwords: it turns random
// numbers and times into PEM, and back.
package clusterca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// Lifetimes: k3s renews the certificates it signs, but nobody renews the authorities on a
// node that is 300 km away.
const (
	rootYears   = 30
	caYears     = 20
	clockMargin = 24 * time.Hour // a node without a clock starts at its image's build time
)

// Files are PEM texts, by k3s' file names below server/tls.
type Files map[string][]byte

// The names of the authorities; each has a .crt and a .key.
var authorities = []string{"server-ca", "client-ca", "request-header-ca", "etcd/server-ca", "etcd/peer-ca"}

const (
	serviceKey = "service.key"
	serverCA   = "server-ca"
	clientCA   = "client-ca"
)

// Identity is the identity of a cluster.
type Identity struct {
	// Root and Intermediate never leave home.
	Root, Intermediate Pair
	// Servers is what the server that creates the cluster gets.
	Servers Files
}

// Pair is a certificate and its key as PEM.
type Pair struct{ Cert, Key []byte }

// New makes the identity of the cluster called name, valid from a day before now. Keys are
// EC P-256, except the service accounts' key, which is RSA 2048 as in k3s itself.
func New(name string, now time.Time, random io.Reader) (*Identity, error) {
	f := factory{name: name, now: now.UTC().Truncate(time.Second), random: random}
	root, err := f.authority("root", rootYears, nil)
	if err != nil {
		return nil, err
	}
	middle, err := f.authority("intermediate", caYears, root)
	if err != nil {
		return nil, err
	}
	id := &Identity{Root: root.pair(), Intermediate: middle.pair(), Servers: Files{}}
	above := slices.Concat(id.Intermediate.Cert, id.Root.Cert)
	for _, a := range authorities {
		ca, err := f.authority(a, caYears, middle)
		if err != nil {
			return nil, err
		}
		p := ca.pair()
		id.Servers[a+".crt"], id.Servers[a+".key"] = slices.Concat(p.Cert, above), p.Key
	}
	id.Servers[serviceKey], err = f.serviceKey()
	return id, err
}

// factory makes the parts of one identity.
type factory struct {
	name   string
	now    time.Time
	random io.Reader
}

// signer is an authority that can sign.
type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  Pair
}

func (s *signer) pair() Pair { return s.pem }

func (f factory) authority(role string, years int, by *signer) (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), f.random)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		// k3s' own authorities have no O; ours name their cluster there.
		Subject:               pkix.Name{Organization: []string{f.name}, CommonName: f.name + " " + role},
		NotBefore:             f.now.Add(-clockMargin),
		NotAfter:              f.now.AddDate(years, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	return f.sign(t, key, by)
}

// sign makes a certificate for key, self-signed if by is nil.
func (f factory) sign(t *x509.Certificate, key *ecdsa.PrivateKey, by *signer) (*signer, error) {
	serial := make([]byte, 16)
	if _, err := io.ReadFull(f.random, serial); err != nil {
		return nil, err
	}
	serial[0] = serial[0]&0x7f | 0x40 // positive and of full length, RFC 5280, 4.1.2.2
	t.SerialNumber = new(big.Int).SetBytes(serial)
	parent, signKey := t, crypto.Signer(key)
	if by != nil {
		parent, signKey = by.cert, by.key
	}
	der, err := x509.CreateCertificate(f.random, t, parent, key.Public(), signKey)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &signer{cert, key, Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}}, nil
}

// serviceKey signs service account tokens. k3s reads the traditional (PKCS #1) form only.
func (f factory) serviceKey() ([]byte, error) {
	key, err := rsa.GenerateKey(f.random, 2048)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), nil
}

// Check reports what is wrong with a set of files: their names, certificates that do not
// match their keys, and certificates that are not signed by the root that ends their chain.
func (f Files) Check(now time.Time) error {
	want := contract.ClusterCAFiles()
	if have := slices.Sorted(maps.Keys(f)); !slices.Equal(have, want) {
		return fmt.Errorf("the cluster's identity has the files %v, want %v", have, want)
	}
	for _, a := range authorities {
		if err := f.checkChain(a, now); err != nil {
			return fmt.Errorf("%s.crt: %w", a, err)
		}
	}
	return nil
}

func (f Files) checkChain(name string, now time.Time) error {
	s, chain, err := f.signer(name)
	if err != nil {
		return err
	}
	root := chain[len(chain)-1]
	if err := root.CheckSignatureFrom(root); err != nil { // otherwise tokens would pin another certificate
		return errors.New("does not end with its root")
	}
	opt := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	opt.Roots.AddCert(root)
	for _, c := range chain[1:] {
		opt.Intermediates.AddCert(c)
	}
	_, err = s.cert.Verify(opt)
	return err
}

// signer reads an authority: its certificate, its key, and its chain, starting with its own
// certificate.
func (f Files) signer(name string) (*signer, []*x509.Certificate, error) {
	chain, err := certificates(f[name+".crt"])
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(f[name+".key"])
	if block == nil {
		return nil, nil, errors.New("its key is no PEM")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("its key: %w", err)
	}
	if !key.PublicKey.Equal(chain[0].PublicKey) {
		return nil, nil, errors.New("is not the certificate of its key")
	}
	return &signer{cert: chain[0], key: key}, chain, nil
}

func certificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no certificate")
	}
	return out, nil
}
