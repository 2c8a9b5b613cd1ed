package headscale_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/headscale"
)

// TestErrorsKeepSecrets: an error says what was asked and answered, but contains neither the
// API key nor a query.
func TestErrorsKeepSecrets(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && r.URL.RawQuery == "":
			w.Write([]byte(`{"preAuthKeys":[{"id":"4711"}]}`))
		default:
			http.Error(w, `{"code":13,"message":"database is locked"}`, http.StatusInternalServerError)
		}
	}))
	base := web.URL
	c, err := headscale.New(base, "hskey-api-verysecret", "")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"POST /api/v1/preauthkey/expire", "500", "database is locked"}
	check(t, c.ExpireKey(context.Background(), headscale.Key{ID: "4711"}), want, "4711", "verysecret")
	web.Close() // now the client's own words
	_, err = c.CreateKey(context.Background(), headscale.KeyRequest{User: "1", Expires: time.Now().Add(time.Hour)})
	check(t, err, []string{"POST /api/v1/preauthkey"}, "verysecret")
}

// TestExpiredByTheServersClock: a key that the server has expired counts as expired even if
// this computer's clock is slow; a key that the server left unchanged does not.
func TestExpiredByTheServersClock(t *testing.T) {
	until, servers := time.Now().Add(24*time.Hour), time.Now().Add(10*time.Minute)
	for _, ends := range []bool{true, false} {
		valid := until
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && ends {
				valid = servers
			}
			fmt.Fprintf(w, `{"preAuthKeys":[{"id":"4711","expiration":%q}]}`, valid.Format(time.RFC3339))
		}))
		c, err := headscale.New(web.URL, "hskey-api-verysecret", "")
		if err != nil {
			t.Fatal(err)
		}
		err = c.ExpireKey(t.Context(), headscale.Key{ID: "4711"})
		web.Close()
		if ends && err != nil {
			t.Error(err)
		} else if !ends {
			check(t, err, []string{"the server accepted, but key 4711 is still valid until " + until.Format(time.RFC3339)}, "verysecret")
		}
	}
}

func check(t *testing.T, err error, want []string, never ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v: no %q", err, w)
		}
	}
	for _, n := range never {
		if strings.Contains(err.Error(), n) {
			t.Errorf("%v: has %q", err, n)
		}
	}
}
