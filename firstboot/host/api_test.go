//go:build linux

package host_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/host"
)

// person makes a certificate and its key.
func person(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
}

// TestAPI asks with both forms of kubeconfig that k3s writes, and shows a
// client's certificate to nobody but the cluster.
func TestAPI(t *testing.T) {
	var patched string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			body, _ := io.ReadAll(r.Body)
			if r.URL.Path == "/api/v1/namespaces/argocd" {
				w.WriteHeader(http.StatusCreated)
			}
			patched = fmt.Sprintf("%s %s by %s: %s", r.Header.Get("Content-Type"), r.URL.RequestURI(), r.TLS.PeerCertificates[0].Subject.CommonName, body)
		}
		switch who := r.TLS.PeerCertificates; {
		case len(who) == 0:
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
		case r.URL.Path == "/readyz":
			http.Error(w, "[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\nreadyz check failed", http.StatusInternalServerError)
		case r.URL.Path == "/api/v1/nodes/other":
			http.Error(w, `{"kind":"Status","message":"nodes \"other\" not found","code":404}`, http.StatusNotFound)
		default:
			fmt.Fprint(w, who[0].Subject.CommonName)
		}
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)

	h := host.New(t.TempDir(), nil)
	put := func(name string, data []byte) {
		t.Helper()
		if err := h.Files.Put(name, bytes.NewReader(data), firstboot.Attr{Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	cert, key := person(t, "system:node:home-pi")
	strange, _ := person(t, "another authority")
	put("/k3s/agent/server-ca.crt", ca)
	put("/k3s/agent/client-kubelet.crt", cert)
	put("/k3s/agent/client-kubelet.key", key)
	kubelet := `apiVersion: v1
clusters: [{name: local, cluster: {server: %q, certificate-authority: /k3s/agent/server-ca.crt}}]
contexts: [{name: Default, context: {cluster: local, namespace: default, user: user}}]
users: [{name: user, user: {client-certificate: /k3s/agent/client-kubelet.crt, client-key: /k3s/agent/client-kubelet.key}}]
`
	admin := `clusters: [{cluster: {server: %q, certificate-authority-data: %q}}]
users: [{user: {client-certificate-data: %q, client-key-data: %q}}]
`
	b64 := base64.StdEncoding.EncodeToString
	put("/kubelet", fmt.Appendf(nil, kubelet, s.URL))
	put("/admin", fmt.Appendf(nil, admin, s.URL, b64(ca), b64(cert), b64(key)))
	put("/strange", fmt.Appendf(nil, admin, s.URL, b64(strange), b64(cert), b64(key)))
	put("/empty", []byte("clusters: []\n"))
	put("/torn", nil)

	for _, c := range []struct{ conf, path, want, fault string }{
		{"/kubelet", "/api/v1/nodes/home-pi", "system:node:home-pi", ""},
		{"/admin", "/api/v1/nodes/home-pi", "system:node:home-pi", ""},
		{"/admin", "/readyz", "", "500 Internal Server Error: etcd failed: reason withheld"},
		{"/kubelet", "/api/v1/nodes/other", "", `404 Not Found: nodes "other" not found`},
		{"/strange", "/readyz", "", "certificate signed by unknown authority"},
		{"/empty", "/readyz", "", "names no cluster"},
		{"/torn", "/readyz", "", "names no cluster"},
		{"/absent", "/readyz", "", "no such file"},
	} {
		out, err := h.Net.API(context.Background(), c.conf, c.path)
		if string(out) != c.want || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s %s: %q, %v", c.conf, c.path, out, err)
		}
	}
	err := h.Net.Patch(context.Background(), "/kubelet", "/api/v1/nodes/home-pi", []byte(`{"a":1}`))
	if want := `application/merge-patch+json /api/v1/nodes/home-pi by system:node:home-pi: {"a":1}`; err != nil || patched != want {
		t.Errorf("patched %q, %v", patched, err)
	}
	err = h.Net.Apply(context.Background(), "/kubelet", "/api/v1/namespaces/argocd", []byte(`{"b":2}`))
	if want := `application/apply-patch+yaml /api/v1/namespaces/argocd?fieldManager=imagebuilder&force=true by `; err != nil || !strings.HasPrefix(patched, want) || !strings.HasSuffix(patched, `: {"b":2}`) {
		t.Errorf("apply: %v, %q", err, patched)
	}
	if err := h.Net.Patch(context.Background(), "/kubelet", "/api/v1/nodes/other", []byte("{}")); err == nil {
		t.Error("a refused patch is no error")
	}
	s.Close()
	if _, err := h.Net.API(context.Background(), "/admin", "/readyz"); err == nil || strings.Contains(err.Error(), s.URL) {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestEtcd hears what etcd 3.6 itself answers: a member that votes, one that
// learns, one that lost the others.
func TestEtcd(t *testing.T) {
	h := host.New(t.TempDir(), nil)
	for want, answer := range map[string]string{
		"":                                      "ok\n",
		"non_learner failed: not supported":     "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[-]non_learner failed: not supported for learner\n\n",
		"linearizable_read failed: etcdserver:": "[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read failed: etcdserver: request timed out\n[+]non_learner ok\n\n",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" {
				http.NotFound(w, r)
				return
			}
			if want != "" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			fmt.Fprint(w, answer)
		}))
		host.SetEtcd(s.URL + "/readyz")
		err := h.Net.Etcd(context.Background())
		s.Close()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", answer, err)
		}
		if err := h.Net.Etcd(context.Background()); err == nil {
			t.Error("an etcd that is gone votes")
		}
	}
}
