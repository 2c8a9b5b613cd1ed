package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestNobodyWaitsAnyMore: if the wait for a deleted node is interrupted, the error says that
// the node is deleted, and does not blame etcd.
func TestNobodyWaitsAnyMore(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	asked := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			if asked++; asked == 2 {
				interrupt()
			}
		}
		fmt.Fprint(w, `{}`)
	}))
	defer s.Close()
	c := &Client{s.Client(), Way{Server: "home-pi", Address: s.Listener.Addr().String()}}
	err := c.DeleteNode(ctx, "cabin-pi")
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "node cabin-pi is deleted, nobody waited for it to be gone") {
		t.Error(err)
	}
}
