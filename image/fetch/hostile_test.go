package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/transfer"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// endless sends for as long as somebody reads, without saying how much.
func endless(t *testing.T) (*server, *atomic.Int64) {
	sent := new(atomic.Int64)
	return serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		for n > 0 && sent.Load() < 256<<20 {
			k, err := w.Write(make([]byte, 64<<10))
			sent.Add(int64(k))
			if err != nil {
				return
			}
		}
	}), sent
}

func TestGetStopsWhereTheFileEnds(t *testing.T) {
	b, sum := blob(1000)
	good := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { content(w, r, b) })
	for _, size := range []int64{1000, 0} {
		bad, sent := endless(t)
		c := testCache(t, t.TempDir())
		c.retry.unknown = 5000
		get := func(urls ...string) (*File, error) {
			return c.Get(t.Context(), Request{Name: "x", URLs: urls, SHA256: sum, Size: size}, progress.Discard)
		}
		_, err := get(bad.URL)
		if wantErr(t, err, "longer than announced: more than "); !errors.Is(err, transfer.ErrTooLong) || bad.gets.Load() != 1 {
			t.Errorf("size %d: asked %d times, %v", size, bad.gets.Load(), err)
		}
		if n := sent.Load(); n > 32<<20 { // what the sockets between us swallow
			t.Errorf("size %d: took %d bytes", size, n)
		}
		if left, _ := os.ReadDir(c.Dir() + "/" + tmpDir); len(left) > 0 {
			t.Errorf("size %d: left %v", size, left)
		}
		f, err := get(bad.URL, good.URL)
		if err != nil {
			t.Fatal(err)
		}
		want(t, f, b)
	}
}

// drop sends b, or what is asked of it, in small drops.
func drops(b []byte) func(n int, w http.ResponseWriter, r *http.Request) {
	return func(n int, w http.ResponseWriter, r *http.Request) {
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Content-Length", fmt.Sprint(len(b)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b)-1, len(b)))
			w.WriteHeader(http.StatusPartialContent)
		}
		for i := from; n > 0 && i < len(b) && r.Context().Err() == nil; i += 10 {
			w.Write(b[i:min(i+10, len(b))])
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// impatient leaves a mirror of less than 10 kB/s after a tenth of a second.
func impatient(t *testing.T) *Cache {
	c := testCache(t, t.TempDir())
	c.retry.rate, c.retry.window = 10_000, 100*time.Millisecond
	return c
}

func TestASlowMirrorIsLeftForTheNext(t *testing.T) {
	b, sum := blob(100_000) // would take 100 s
	slow := serve(t, drops(b))
	var resumed atomic.Bool
	good := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
			resumed.Store(true)
		}
		content(w, r, b)
	})
	c := impatient(t)
	f, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{slow.URL, good.URL}, SHA256: sum, Size: int64(len(b))}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want(t, f, b)
	if !resumed.Load() {
		t.Error("what the slow one had sent was thrown away")
	}
	// A host that was slow once comes last.
	other, sum := blob(100)
	last := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { content(w, r, other) })
	asked := slow.gets.Load()
	if _, err := c.Get(t.Context(), Request{Name: "y", URLs: []string{slow.URL, last.URL}, SHA256: sum}, progress.Discard); err != nil || slow.gets.Load() != asked {
		t.Errorf("asked again: %v", err)
	}
}

// TestSlowIsBetterThanNothing: where the line itself is slow, no mirror would do.
func TestSlowIsBetterThanNothing(t *testing.T) {
	b, sum := blob(400)
	slow := serve(t, drops(b))
	c := impatient(t)
	f, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{slow.URL, closedPort(t)}, SHA256: sum, Size: int64(len(b))}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want(t, f, b)
	if n := slow.gets.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

func TestASlowIndexIsLeft(t *testing.T) {
	b, _ := blob(400)
	slow := serve(t, drops(b))
	c := impatient(t)
	_, err := c.GetIndex(t.Context(), IndexRequest{Name: "i", URL: slow.URL}, progress.Discard)
	if wantErr(t, err, "slower than"); !errors.Is(err, ErrSlow) {
		t.Errorf("error = %v", err)
	}
	if f, err := c.GetIndex(t.Context(), IndexRequest{Name: "i", URL: slow.URL}, progress.Discard); err != nil {
		t.Error(err)
	} else {
		want(t, f, b)
	}
}

func TestTheNewestIsRemembered(t *testing.T) {
	dir := t.TempDir()
	day := func(n int) time.Time { return time.Date(2026, 11, n, 2, 10, 46, 0, time.UTC) }
	newest := func(name string, given, want int) {
		t.Helper()
		c, err := OpenCache(dir) // another process each time
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, err := c.Newest(t.Context(), name, day(given)); err != nil || !got.Equal(day(want)) {
			t.Errorf("%s of day %d: %v, %v; want day %d", name, given, got, err, want)
		}
	}
	newest("trixie", 5, 5)
	newest("trixie", 7, 7)
	newest("trixie", 6, 7)
	newest("trixie-security", 2, 2)
	newest("trixie", 7, 7)

	c := testCache(t, dir)
	all, err := c.list()
	if err != nil || len(all) != 2 {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	past := time.Now().Add(-1000 * time.Hour)
	for _, e := range all {
		os.Chtimes(e.path, past, past)
	}
	if _, err := c.Prune(Policy{MaxAge: time.Hour, MaxBytes: 1}); err != nil {
		t.Fatal(err)
	}
	newest("trixie", 1, 7) // pruning by age does not make old indexes welcome
	if _, err := c.Prune(Policy{All: true}); err != nil {
		t.Fatal(err)
	}
	newest("trixie", 1, 1)
}
