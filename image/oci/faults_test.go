package oci_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/oci"
	"github.com/going-mobile/imagebuilder/image/oci/registrytest"
)

// fault answers in a registry's stead.
type fault = func(http.ResponseWriter, *http.Request) bool

// status refuses the first requests for a part of the registry.
func status(part string, code, times int) fault {
	var n atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) || int(n.Add(1)) > times {
			return false
		}
		w.Header().Set("Retry-After", "1")
		http.Error(w, "no", code)
		return true
	}
}

// body serves something else in place of the first blobs.
func body(times int, write func(http.ResponseWriter)) fault {
	var n atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") || r.Method != http.MethodGet || int(n.Add(1)) > times {
			return false
		}
		write(w)
		return true
	}
}

func truncated(w http.ResponseWriter) {
	w.Header().Set("Content-Length", "5000")
	w.Write(make([]byte, 100))
}

func endless(w http.ResponseWriter) {
	for b := make([]byte, 1<<20); ; {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

func other(w http.ResponseWriter) { w.Write([]byte("something else")) }

// TestFaults: what passes by itself is waited for, what does not is said.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault   fault
		want    string // of the error; "" for none
		atLeast time.Duration
	}{
		"the ping is too early":     {status("/v2/", 429, 1), "", time.Second},
		"a 429 with Retry-After":    {status("/manifests/", 429, 1), "", time.Second},
		"a layer's 500":             {status("/blobs/", 500, 2), "", 0},
		"a tag's 503":               {status("/manifests/v1", 503, 1), "", 0},
		"a truncated layer":         {body(1, truncated), "", 0},
		"a layer of another digest": {body(1, other), "", 0},
		"403":                       {status("/manifests/", 403, 1000), "whom docker's config.json names", 0},
		"401":                       {status("/manifests/", 401, 1000), "docker login", 0},
		"404":                       {status("/manifests/", 404, 1000), "no such image, tag or digest", 0},
		"429":                       {status("/manifests/", 429, 1000), "take a mirror ('imagebuilder build --registry-mirror URL')", 0},
		"always another layer":      {body(1000, other), "sha256", 0},
		"endless layers":            {body(1000, endless), "longer than announced", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := registrytest.Start(t, true)
			ref, _ := g.Push(t, "app:v1", registrytest.Index(t, 1, 2000, 2))
			g.Fault = c.fault
			start := time.Now()
			_, _, err := build(t, cache(t), oci.Options{Arch: "amd64"}, ref)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "app:v1")) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if d := time.Since(start); d < c.atLeast {
				t.Errorf("asked again after %v", d)
			}
		})
	}
}

// TestWhoRefuses: what is to be done follows from the registry's own answer, not
// from that of a mirror which lacks the image.
func TestWhoRefuses(t *testing.T) {
	for _, c := range []struct {
		mirror, registry int
		want, not        string
	}{
		{http.StatusNotFound, http.StatusForbidden, "whom docker's config.json names", "no such image"},
		{http.StatusUnauthorized, http.StatusNotFound, "no such image", "docker login"},
	} {
		g, m := registrytest.Start(t, true), registrytest.Start(t, false)
		ref, digest := g.Push(t, "app:v1", registrytest.Index(t, 1, 2000, 2))
		g.Fault, m.Fault = status("/manifests/", c.registry, 1000), status("/", c.mirror, 1000)
		_, _, err := build(t, cache(t), oci.Options{Arch: "amd64", Mirror: m.URL()}, ref+"@"+digest)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), c.not) {
			t.Errorf("%d, %d: %v", c.mirror, c.registry, err)
		}
	}
}

// TestNobodyThere: where a registry cannot be reached, a mirror can help; what a
// tag means it is not asked.
func TestNobodyThere(t *testing.T) {
	const here, mirror = "127.0.0.1:1/app", "'imagebuilder build --registry-mirror URL'"
	digest := "@sha256:" + strings.Repeat("0", 64)
	gone := registrytest.Start(t, false)
	for _, c := range []struct{ ref, mirror, want, not string }{
		{here + ":v1", "", "no other registry is asked what a tag means: write the image's digest, and take it from a mirror (" + mirror, "docker login"},
		{here + ":v1", gone.URL(), "write the image's digest", "docker login"},
		{here + ":v1" + digest, "", "127.0.0.1:1 cannot be reached: take it from a mirror (" + mirror, "write"},
		{here + ":v1" + digest, gone.URL(), "fetch manifest of", "cannot be reached"},
	} {
		_, _, err := build(t, cache(t), oci.Options{Arch: "amd64", Mirror: c.mirror}, c.ref)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), c.not) {
			t.Errorf("%s, mirror %q: %v", c.ref, c.mirror, err)
		}
	}
}
