package headscale_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/headscale"
)

// next answers as 0.30 will, according to its source (hscontrol/api/v1): with RFC 7807
// errors, 4xx where 0.29 answers 500, and 422 for an unknown field. It is a fake, as that
// version is not released yet.
type next struct {
	key map[string]any
}

func (n *next) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/user", func(w http.ResponseWriter, r *http.Request) {
		if known(w, r, "name", "displayName", "email", "pictureUrl") != nil {
			problem(w, http.StatusConflict, "user already exists")
		}
	})
	mux.HandleFunc("GET /api/v1/user", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"users": []any{user}})
	})
	mux.HandleFunc("POST /api/v1/preauthkey", n.create)
	mux.HandleFunc("GET /api/v1/preauthkey", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"preAuthKeys": []any{n.key}})
	})
	mux.HandleFunc("POST /api/v1/preauthkey/expire", func(w http.ResponseWriter, r *http.Request) {
		if body := known(w, r, "id"); body != nil {
			n.key["expiration"] = time.Now()
			answer(w, map[string]any{})
		}
	})
	mux.HandleFunc("PUT /api/v1/policy", func(w http.ResponseWriter, r *http.Request) {
		if known(w, r, "policy") != nil {
			problem(w, http.StatusBadRequest, "setting policy", "tag not found: \"tag:nobody\"")
		}
	})
	mux.HandleFunc("/api/v1/node/{id}", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, "node not found")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			problem(w, http.StatusUnauthorized, "Unauthorized")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

var user = map[string]any{"id": "1", "name": "fleet", "createdAt": time.Now()}

func (n *next) create(w http.ResponseWriter, r *http.Request) {
	body := known(w, r, "user", "reusable", "ephemeral", "expiration", "aclTags")
	if body == nil {
		return
	}
	if body["user"] != "1" {
		problem(w, http.StatusNotFound, "creating pre-auth key", "user not found")
		return
	}
	n.key = map[string]any{"id": "7", "user": user, "key": "hskey-auth-prefix-secret", "expiration": body["expiration"], "aclTags": body["aclTags"]}
	answer(w, map[string]any{"preAuthKey": n.key})
}

func answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func problem(w http.ResponseWriter, status int, detail string, causes ...string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	p := map[string]any{"title": http.StatusText(status), "status": status, "detail": detail}
	var list []any
	for _, c := range causes {
		list = append(list, map[string]string{"message": c})
	}
	if p["errors"] = list; list == nil {
		delete(p, "errors")
	}
	answer(w, p)
}

// known parses a body with these fields only; it returns nil if there are others.
func known(w http.ResponseWriter, r *http.Request, fields ...string) map[string]any {
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	for name := range body {
		if !slices.Contains(fields, name) {
			problem(w, http.StatusUnprocessableEntity, "validation failed", "unexpected property body."+name)
			return nil
		}
	}
	return body
}

// TestNext: 0.30's different answers have the same meaning for the client.
func TestNext(t *testing.T) {
	web := httptest.NewServer((&next{}).handler())
	t.Cleanup(web.Close)
	c, err := headscale.New(web.URL, "good", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	key, err := c.CreateKey(ctx, headscale.KeyRequest{User: "1", Tags: []string{"tag:a"}, Expires: later})
	if err != nil {
		t.Fatal(err)
	}
	if u, err := c.CreateUser(ctx, "fleet"); err != nil || u.ID != "1" {
		t.Errorf("a user that is there: %+v, %v", u, err)
	}
	if err := c.ExpireKey(ctx, key); err != nil {
		t.Errorf("expire: %v", err)
	}
	stranger, err := headscale.New(web.URL, "bad", "")
	if err != nil {
		t.Fatal(err)
	}
	_, unknownUser := c.CreateKey(ctx, headscale.KeyRequest{User: "9", Expires: later})
	_, badPolicy := c.SetPolicy(ctx, "{}")
	_, badKey := stranger.Nodes(ctx)
	for _, f := range []struct {
		name  string
		err   error
		is    error // nil: an APIError
		words string
	}{
		{"a node that is not there", c.DeleteNode(ctx, "77"), headscale.ErrNotFound, "node not found"},
		{"a user that is not there", unknownUser, headscale.ErrNotFound, "creating pre-auth key: user not found"},
		{"a bad policy", badPolicy, nil, `400: setting policy: tag not found: "tag:nobody"`},
		{"a bad API key", badKey, headscale.ErrUnauthorized, "API key is not valid"},
	} {
		var api *headscale.APIError
		if f.is != nil && !errors.Is(f.err, f.is) || f.is == nil && !errors.As(f.err, &api) || !strings.Contains(fmt.Sprint(f.err), f.words) {
			t.Errorf("%s: %v, want %q", f.name, f.err, f.words)
		}
	}
}
