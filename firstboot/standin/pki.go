//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gopkg.in/yaml.v3"
)

// issue makes a self-signed certificate, and returns it with its key as PEM.
func issue(t *x509.Certificate) (string, error) { return issueBy(t, tls.Certificate{}) }

// issueBy makes a certificate signed by by, or a self-signed one if by is empty.
func issueBy(t *x509.Certificate, by tls.Certificate) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	t.SerialNumber, t.NotAfter, t.BasicConstraintsValid = big.NewInt(1), time.Now().AddDate(10, 0, 0), true
	parent, signer := t, any(key)
	if by.PrivateKey != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), nil
}

// certificate returns the server's certificate for its present addresses. The authority survives a
// restart, as k3s' does: nodes that have joined trust it by their kubeconfig.
func (n *self) certificate() (tls.Certificate, error) {
	by, err := n.authority(serverCA)
	if err == nil && by.PrivateKey == nil {
		by, err = n.ownAuthority()
	}
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{Subject: pkix.Name{CommonName: "k3s stand-in"}, DNSNames: []string{"kubernetes", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(n.one("node-ip"))}}
	for _, san := range n.settings["tls-san"] {
		if ip := net.ParseIP(san); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
			continue
		}
		t.DNSNames = append(t.DNSNames, san)
	}
	both, err := issueBy(t, by)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair([]byte(both), []byte(both))
}

// ownAuthority returns the stand-in's own authority, made at the first start.
func (n *self) ownAuthority() (tls.Certificate, error) {
	name := n.tlsFile("standin-ca.pem")
	if b, err := os.ReadFile(name); err == nil {
		return tls.X509KeyPair(b, b)
	}
	both, err := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "k3s stand-in CA"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign})
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := put(name, []byte(both)); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair([]byte(both), []byte(both))
}

// The authorities that k3s uses if they exist before its first start (docs.k3s.io, "k3s
// certificate"). Otherwise it makes its own.
const (
	serverCA = "server-ca"
	clientCA = "client-ca"
)

func (n *self) tlsFile(name string) string { return at(filepath.Join(n.data, "server/tls", name)) }

// authority returns an authority given from outside; it is empty if there is none.
func (n *self) authority(name string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(n.tlsFile(name+".crt"), n.tlsFile(name+".key"))
	if errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, nil
	}
	return pair, err
}

// authorities returns the authority that clients trust, and those whose client certificates the API
// accepts (nil if not given).
func (n *self) authorities() (ca []byte, clients *x509.CertPool, err error) {
	ca, err = os.ReadFile(n.tlsFile(serverCA + ".crt"))
	if errors.Is(err, fs.ErrNotExist) {
		own, err := n.ownAuthority()
		if err != nil {
			return nil, nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}), nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	text, err := os.ReadFile(n.tlsFile(clientCA + ".crt"))
	clients = x509.NewCertPool()
	clients.AppendCertsFromPEM(text)
	return ca, clients, err
}

// administrator reports whether a chain is valid for a client in system:masters.
func administrator(chain []*x509.Certificate, by *x509.CertPool) bool {
	if len(chain) == 0 || !slices.Contains(chain[0].Subject.Organization, "system:masters") {
		return false
	}
	opt := x509.VerifyOptions{Roots: by, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range chain[1:] {
		opt.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(opt)
	return err == nil
}

func put(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o600)
}

// writeKubeconfigs writes k3s' kubeconfigs in their two forms: the kubelet's names files, the
// administrator's holds their content.
func (n *self) writeKubeconfigs(ctx context.Context, server, credential string) error {
	var ca []byte
	if err := call(ctx, "GET", server+"/cacerts", "", nil, &ca); err != nil {
		return err
	}
	files := map[string]string{}
	for name, content := range map[string]string{"server-ca.crt": string(ca), "client-kubelet.crt": credential, "client-kubelet.key": credential} {
		files[name] = filepath.Join(n.data, "agent", name)
		if err := put(at(files[name]), []byte(content)); err != nil {
			return err
		}
	}
	if err := writeKubeconfig(filepath.Join(n.data, "agent/kubelet.kubeconfig"),
		map[string]any{"server": server, "certificate-authority": files["server-ca.crt"]},
		map[string]any{"client-certificate": files["client-kubelet.crt"], "client-key": files["client-kubelet.key"]}); err != nil {
		return err
	}
	if n.role != "server" || n.on("disable-apiserver") {
		return nil
	}
	return writeKubeconfig("/etc/rancher/k3s/k3s.yaml",
		map[string]any{"server": "https://" + net.JoinHostPort("127.0.0.1", n.port()), "certificate-authority-data": n.cluster.ca}, // JSON writes bytes in base64
		map[string]any{"client-certificate-data": []byte(credential), "client-key-data": []byte(credential)})
}

func writeKubeconfig(name string, cluster, user map[string]any) error {
	b, err := json.MarshalIndent(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "default",
		"clusters": []any{map[string]any{"name": "default", "cluster": cluster}},
		"users":    []any{map[string]any{"name": "default", "user": user}},
		"contexts": []any{map[string]any{"name": "default", "context": map[string]any{"cluster": "default", "user": "default"}}},
	}, "", "  ") // JSON is YAML
	if err != nil {
		return err
	}
	return put(at(name), b)
}

// readKubeconfig reads either form.
func readKubeconfig(name string) (server string, conf *tls.Config, err error) {
	var c struct {
		Clusters []struct{ Cluster map[string]string }
		Users    []struct{ User map[string]string }
	}
	b, err := os.ReadFile(at(name))
	if err != nil {
		return "", nil, err
	}
	if err := yaml.Unmarshal(b, &c); err != nil {
		return "", nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(c.Clusters) == 0 || len(c.Users) == 0 {
		return "", nil, fmt.Errorf("%s names no cluster", name)
	}
	cluster, user := c.Clusters[0].Cluster, c.Users[0].User
	pair, err := tls.X509KeyPair(held(user, "client-certificate"), held(user, "client-key"))
	conf = &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}}
	conf.RootCAs.AppendCertsFromPEM(held(cluster, "certificate-authority"))
	return cluster["server"], conf, err
}

func held(from map[string]string, name string) []byte {
	var data []byte
	if json.Unmarshal([]byte(`"`+from[name+"-data"]+`"`), &data) == nil && len(data) > 0 {
		return data
	}
	data, _ = os.ReadFile(at(from[name])) // without it, TLS says what is missing
	return data
}
