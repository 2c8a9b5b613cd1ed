package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/clusterca"
)

// everybody is one certificate that serves as the servers', the owner's, and the
// authority's.
func everybody(t *testing.T) (Access, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{certName}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pair := clusterca.Pair{Cert: cert, Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})}
	own, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return Access{CA: cert, Admin: pair}, own
}

// server is an API server that records the state of its connections.
func server(t *testing.T, own tls.Certificate, answer http.HandlerFunc) (Way, chan http.ConnState) {
	t.Helper()
	states := make(chan http.ConnState, 100)
	s := httptest.NewUnstartedServer(answer)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{own}}
	s.Config.ConnState = func(_ net.Conn, is http.ConnState) { states <- is }
	s.StartTLS()
	t.Cleanup(s.Close)
	return Way{Server: "s", Address: s.Listener.Addr().String()}, states
}

// TestConnectLeavesNoLineBehind: of all connections that were tried, one stays open, and is
// closed when idle.
func TestConnectLeavesNoLineBehind(t *testing.T) {
	access, own := everybody(t)
	var once sync.Once
	answered := make(chan struct{})
	no, its := server(t, own, func(w http.ResponseWriter, r *http.Request) {
		defer once.Do(func() { close(answered) })
		http.NotFound(w, r)
	})
	yes, _ := server(t, own, func(http.ResponseWriter, *http.Request) { <-answered })
	c, err := Connect(t.Context(), access, []Way{no, yes})
	if err != nil || c.way != yes {
		t.Fatalf("%+v, %v", c, err)
	}
	defer c.http.CloseIdleConnections()
	for end := time.After(30 * time.Second); ; {
		select {
		case is := <-its:
			if is == http.StateClosed {
				if idle := c.http.Transport.(*http.Transport).IdleConnTimeout; idle != time.Minute {
					t.Errorf("the other line stays open for %v", idle)
				}
				return
			}
		case <-end:
			t.Fatal("the line that did not do is open")
		}
	}
}
