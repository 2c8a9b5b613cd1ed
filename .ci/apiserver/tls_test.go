package apiserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// tlsDir is what k3s calls server/tls of its data directory.
type tlsDir string

func (d tlsDir) at(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }

// lay puts the cluster's authorities where firstboot lays them, and signs with
// them what k3s would at its start (k3s, pkg/daemons/control/deps).
func (d tlsDir) lay(authorities map[string]secret.String, host string) error {
	for name, text := range authorities {
		if err := d.put(name, []byte(text.Reveal())); err != nil {
			return err
		}
	}
	for name, c := range map[string]struct {
		by string
		x509.Certificate
	}{
		"serving-kube-apiserver": {"server-ca", x509.Certificate{
			Subject:     pkix.Name{CommonName: "kube-apiserver"},
			DNSNames:    []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", host},
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 43, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}},
		"client-auth-proxy": {"request-header-ca", x509.Certificate{Subject: pkix.Name{CommonName: "system:auth-proxy"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}},
		"etcd/server": {"etcd/server-ca", x509.Certificate{
			Subject:     pkix.Name{CommonName: "etcd-server"},
			DNSNames:    []string{"localhost"},
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}},
		"etcd/client": {"etcd/server-ca", x509.Certificate{Subject: pkix.Name{CommonName: "etcd-client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}},
	} {
		if err := d.sign(name, c.by, &c.Certificate); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// sign makes NAME.crt, with its authority's chain behind it, and NAME.key.
func (d tlsDir) sign(name, by string, c *x509.Certificate) error {
	chain, err := os.ReadFile(d.at(by + ".crt"))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(d.at(by + ".key"))
	if err != nil {
		return err
	}
	parent, signer, err := pair(chain, text)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Minute), time.Now().AddDate(1, 0, 0)
	c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := d.put(name+".crt", slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), chain)); err != nil {
		return err
	}
	return d.put(name+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}))
}

// pair reads the first certificate of a chain, and its key.
func pair(chain, text []byte) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	first, _ := pem.Decode(chain)
	secret, _ := pem.Decode(text)
	if first == nil || secret == nil {
		return nil, nil, fmt.Errorf("is no PEM")
	}
	cert, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(secret.Bytes)
	return cert, key, err
}

func (d tlsDir) put(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(d.at(name)), 0o700); err != nil {
		return err
	}
	return os.WriteFile(d.at(name), data, 0o600)
}
