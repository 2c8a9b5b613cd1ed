package kube

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestASecretIsLookedForAndNotRead: the server answers as Kubernetes does, with the whole
// object, unless the first format that the client accepts contains less.
func TestASecretIsLookedForAndNotRead(t *testing.T) {
	var sent []string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, rest, _ := strings.Cut(r.Header.Get("Accept"), ",")
		answer := `{"kind":"Secret","data":{"hash":"c2VjcmV0"}}`
		if first == "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1" && rest == "application/json" {
			answer = `{"kind":"PartialObjectMetadata"}`
		}
		sent = append(sent, r.Method+" "+r.URL.Path+" "+answer)
		fmt.Fprint(w, answer)
	}))
	defer s.Close()
	c := &Client{s.Client(), Way{Server: "home-pi", Address: s.Listener.Addr().String()}}
	found, err := c.HasSecret(t.Context(), "kube-system", "cabin-pi.node-password.k3s")
	if err != nil || !found || c.DeleteSecret(t.Context(), "kube-system", "cabin-pi.node-password.k3s") != nil {
		t.Fatal(found, err)
	}
	if len(sent) != 2 || strings.Contains(strings.Join(sent, ""), "hash") {
		t.Errorf("the server was asked for the secret: %q", sent)
	}
}
