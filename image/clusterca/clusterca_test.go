package clusterca

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func identity(t testing.TB) *Identity {
	t.Helper()
	id, err := New("going-mobile", now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestOpenSSLVerifies: another program follows every chain to the root, finds
// authorities at each step, and the keys fit.
func TestOpenSSLVerifies(t *testing.T) {
	id := identity(t)
	dir := t.TempDir()
	for name, text := range id.Servers {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(dir, "root.pem")
	if err := os.WriteFile(root, id.Root.Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, a := range authorities {
		crt, key := filepath.Join(dir, a+".crt"), filepath.Join(dir, a+".key")
		if out := openssl(t, "verify", "-x509_strict", "-CAfile", root, "-untrusted", crt, crt); !strings.Contains(out, "OK") {
			t.Errorf("%s: %s", a, out)
		}
		if of, by := openssl(t, "x509", "-in", crt, "-noout", "-pubkey"), openssl(t, "pkey", "-in", key, "-pubout"); of != by {
			t.Errorf("%s.crt is not the certificate of its key", a)
		}
	}
	openssl(t, "rsa", "-in", filepath.Join(dir, serviceKey), "-check", "-noout")
	if !strings.HasPrefix(string(id.Servers[serviceKey]), "-----BEGIN RSA PRIVATE KEY-----") {
		t.Error("service.key is not in the traditional form")
	}
}

func openssl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("openssl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestToken: the hash is that of the root, the last of server-ca.crt.
func TestToken(t *testing.T) {
	id := identity(t)
	block, _ := pem.Decode(id.Root.Cert)
	sum := sha256.Sum256(block.Bytes)
	got, err := id.Servers.Token(AgentToken, "s3cret")
	if want := "K10" + hex.EncodeToString(sum[:]) + "::node:s3cret"; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	a, errA := NewSecret(rand.Reader)
	b, errB := NewSecret(rand.Reader)
	if errA != nil || errB != nil || a == b || len(a) != 32 {
		t.Errorf("secrets %q and %q, %v, %v", a, b, errA, errB)
	}
}

// TestAdmin: a server that checks its clients as the API server does lets the
// owner in, and refuses a certificate of another cluster and an expired one.
func TestAdmin(t *testing.T) {
	id, other := identity(t), identity(t)
	server := apiServer(t, id)
	good, err := id.Servers.Admin("owner", time.Now(), time.Hour, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Servers.Admin("owner", time.Now(), time.Hour, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	old, err := id.Servers.Admin("owner", time.Now().Add(-2*time.Hour), time.Hour, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pair Pair
		ca   []byte
		ok   bool
	}{
		"the owner":           {good, id.Servers.ServerCA(), true},
		"another cluster's":   {foreign, id.Servers.ServerCA(), false},
		"expired":             {old, id.Servers.ServerCA(), false},
		"to a foreign server": {good, other.Servers.ServerCA(), false},
	} {
		got, err := get(t, server, c.pair, c.ca)
		if (err == nil) != c.ok || c.ok && got != "system:masters/owner" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// apiServer serves with a certificate of the cluster's server CA and wants
// clients of its client CA.
func apiServer(t *testing.T, id *Identity) *httptest.Server {
	by, _, err := id.Servers.signer(serverCA)
	if err != nil {
		t.Fatal(err)
	}
	f := factory{now: time.Now(), random: rand.Reader}
	leaf, err := f.authority("leaf", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "k3s"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by.cert, leaf.key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(id.Servers["client-ca.crt"])
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject := r.TLS.VerifiedChains[0][0].Subject
		w.Write([]byte(subject.Organization[0] + "/" + subject.CommonName))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der, by.cert.Raw}, PrivateKey: leaf.key}}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, s *httptest.Server, p Pair, ca []byte) (string, error) {
	t.Helper()
	cert, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}}}
	defer c.CloseIdleConnections()
	resp, err := c.Get(s.URL)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b := make([]byte, 64)
	n, _ := resp.Body.Read(b)
	return string(b[:n]), nil
}

// TestCheck: a set that a server would refuse, or fall over, is refused at home.
func TestCheck(t *testing.T) {
	id, other := identity(t), identity(t)
	if err := id.Servers.Check(now); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(Files){
		"a missing file":         func(f Files) { delete(f, "etcd/peer-ca.key") },
		"a file too many":        func(f Files) { f["root-ca.key"] = id.Root.Key },
		"a key of another":       func(f Files) { f["client-ca.key"] = other.Servers["client-ca.key"] },
		"a chain without a root": func(f Files) { f["client-ca.crt"] = bytes.TrimSuffix(f["client-ca.crt"], id.Root.Cert) },
		"no certificate":         func(f Files) { f["server-ca.crt"] = []byte("x") },
	} {
		f := Files{}
		for k, v := range id.Servers {
			f[k] = v
		}
		spoil(f)
		if err := f.Check(now); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if err := id.Servers.Check(now.AddDate(21, 0, 0)); err == nil {
		t.Error("an expired identity is accepted")
	}
}

// TestSize: all of it fits the 32 KiB of node.yaml with room for the rest.
func TestSize(t *testing.T) {
	total := 0
	for _, text := range identity(t).Servers {
		total += len(text)
	}
	if total > 16<<10 {
		t.Errorf("%d bytes", total)
	}
}
