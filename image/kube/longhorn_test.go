package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// store is Longhorn, as far as its webhook goes (longhorn-manager, webhook/resources/node).
type store struct {
	record, schedules bool
	replicas          map[string]string // by name, JSON
	refuses           string            // what it says besides
	did               []string
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/apis/longhorn.io/v1beta2/namespaces/longhorn-system/")
	if r.Method != http.MethodGet {
		s.did = append(s.did, r.Method+" "+path)
	}
	plural, name, _ := strings.Cut(path, "/")
	switch {
	case plural == "replicas" && name == "":
		var all []string
		for _, r := range s.replicas {
			all = append(all, r)
		}
		fmt.Fprintf(w, `{"items":[%s]}`, strings.Join(all, ","))
	case plural == "replicas" && r.Method == http.MethodDelete:
		delete(s.replicas, name)
	case path != "nodes/box" || !s.record:
		http.NotFound(w, r)
	case r.Method == http.MethodGet:
		fmt.Fprintf(w, `{"spec":{"allowScheduling":%v}}`, s.schedules)
	case r.Method == http.MethodPatch:
		s.schedules = false
	case s.refuses != "" || s.schedules || s.has("box"):
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"message":"admission webhook \"validator.longhorn.io\" denied the request: %s"}`, s.refuses)
	default:
		s.record = false
	}
}

func (s *store) has(node string) bool {
	for _, r := range s.replicas {
		if strings.Contains(r, `"nodeID":"`+node+`"`) {
			return true
		}
	}
	return false
}

func (s *store) put(name, node, volume, healthy, failed string) {
	s.replicas[name] = fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"nodeID":%q,"volumeName":%q,"healthyAt":%q,"failedAt":%q}}`, name, node, volume, healthy, failed)
}

// client speaks to it without a wire, which a bubble's time would not wait for.
func (s *store) client() *Client {
	return &Client{&http.Client{Transport: wireless{s}}, Way{Server: "home-pi", Address: "home-pi:6443"}}
}

type wireless struct{ http.Handler }

func (h wireless) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}

const then = "2026-11-29T12:00:00Z"

// TestForgetStorage: the record goes, with its replicas, and no other's.
func TestForgetStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{record: true, schedules: true, refuses: "1 engine running on it", replicas: map[string]string{}}
		s.put("a-1", "box", "a", then, "")
		s.put("a-2", "home-box", "a", then, "")
		s.put("b-1", "box", "b", "", then)
		s.put("b-2", "home-box", "b", then, "")
		time.AfterFunc(time.Minute, func() { s.refuses = "" })
		if err := s.client().ForgetStorage(t.Context(), "box"); err != nil || s.record || s.has("box") || len(s.replicas) != 2 {
			t.Errorf("%v, %+v", err, s)
		}
		did := len(s.did)
		if err := s.client().ForgetStorage(t.Context(), "box"); err != nil || len(s.did) != did {
			t.Errorf("once more: %v, %q", err, s.did[did:])
		}
	})
}

// TestStorageThatStays: the only replica of a volume, or what Longhorn does not let go, in
// its words.
func TestStorageThatStays(t *testing.T) {
	for what, c := range map[string]struct{ node, healthy, failed string }{
		"no other":      {"box", then, ""},
		"one that fell": {"home-box", then, then},
		"an empty one":  {"home-box", "", ""},
	} {
		s := &store{record: true, schedules: true, replicas: map[string]string{}}
		s.put("a-1", "box", "a", then, "")
		s.put("a-2", c.node, "a", c.healthy, c.failed)
		about, err := s.client().Storage(t.Context(), "box")
		if err != nil || about == nil || !strings.Contains(strings.Join(about.Only, ", "), "a-1 of a") {
			t.Errorf("%s: %+v, %v", what, about, err)
		}
		if err := s.client().ForgetStorage(t.Context(), "box"); !errors.Is(err, errOnly) || len(s.did) > 0 {
			t.Errorf("%s: %v, it did %q", what, err, s.did)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := &store{record: true, refuses: "1 engine running on it", replicas: map[string]string{}}
		began := time.Now()
		if err := s.client().ForgetStorage(t.Context(), "box"); err == nil || !strings.Contains(err.Error(), "1 engine running on it") || time.Since(began) < 3*time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := s.client().ForgetStorage(ctx, "box"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestNoStorage: Longhorn has no record, or is not there at all.
func TestNoStorage(t *testing.T) {
	s := &store{}
	if about, err := s.client().Storage(t.Context(), "box"); about != nil || err != nil {
		t.Errorf("%+v, %v", about, err)
	}
}
