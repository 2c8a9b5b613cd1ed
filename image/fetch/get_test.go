package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/progress"
)

// testCache retries without making the test wait.
func testCache(t *testing.T, dir string) *Cache {
	t.Helper()
	c, err := OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.retry = retryPolicy{attempts: 4, base: time.Millisecond, max: 4 * time.Millisecond, stall: 200 * time.Millisecond, window: time.Minute, unknown: 1 << 20}
	return c
}

func blob(size int) ([]byte, string) {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(size)})
	r.Read(b)
	sum := sha256.Sum256(b)
	return b, hex.EncodeToString(sum[:])
}

// server answers with handler and counts what it is asked.
type server struct {
	*httptest.Server
	gets, heads atomic.Int32
}

func serve(t *testing.T, handler func(n int, w http.ResponseWriter, r *http.Request)) *server {
	s := new(server)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			s.heads.Add(1)
			handler(0, w, r)
			return
		}
		handler(int(s.gets.Add(1)), w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func content(w http.ResponseWriter, r *http.Request, b []byte) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

func want(t *testing.T, f *File, b []byte) {
	t.Helper()
	got, err := f.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b) || f.Size() != int64(len(b)) {
		t.Fatalf("%s holds %d other bytes, want %d", f.Path(), len(got), len(b))
	}
}

// wantErr fails unless err mentions every part.
func wantErr(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error lacks %q:\n%v", p, err)
		}
	}
}

func TestGetOnce(t *testing.T) {
	b, sum := blob(300_000)
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { content(w, r, b) })
	c := testCache(t, t.TempDir())
	for range 3 {
		f, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{s.URL}, SHA256: sum, Size: int64(len(b))}, progress.Discard)
		if err != nil {
			t.Fatal(err)
		}
		want(t, f, b)
	}
	if n := s.gets.Load(); n != 1 {
		t.Errorf("asked the server %d times", n)
	}
	if n := s.heads.Load(); n != 0 {
		t.Errorf("%d HEAD requests for a fresh download", n)
	}
	if left, _ := os.ReadDir(filepath.Join(c.Dir(), tmpDir)); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
	if left, _ := os.ReadDir(filepath.Join(c.Dir(), lockDir)); len(left) > 0 {
		t.Errorf("left in lock: %v", left)
	}
}

func TestGetRetries(t *testing.T) {
	b, sum := blob(200_000)
	half := len(b) / 2
	tests := []struct {
		name    string
		handler func(n int, w http.ResponseWriter, r *http.Request)
		gets    int32
	}{
		{"503 then right", func(n int, w http.ResponseWriter, r *http.Request) {
			if n < 3 {
				http.Error(w, "later", http.StatusServiceUnavailable)
				return
			}
			content(w, r, b)
		}, 3},
		{"429 then right", func(n int, w http.ResponseWriter, r *http.Request) {
			if n < 2 {
				http.Error(w, "slower", http.StatusTooManyRequests)
				return
			}
			content(w, r, b)
		}, 2},
		{"reset in the middle, resumed", func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				w.Header().Set("Content-Length", fmt.Sprint(len(b)))
				w.Write(b[:half])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			if n > 1 && r.Header.Get("Range") == "" {
				t.Error("did not resume")
			}
			content(w, r, b)
		}, 2},
		{"silence in the middle, resumed", func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				w.Header().Set("Content-Length", fmt.Sprint(len(b)))
				w.Write(b[:half])
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return
			}
			content(w, r, b)
		}, 2},
		{"cut short without a length", func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				w.(http.Flusher).Flush()
				w.Write(b[:half])
				return
			}
			content(w, r, b)
		}, 2},
		{"does not resume", func(n int, w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.Header().Set("Accept-Ranges", "bytes") // a lie
				w.Header().Set("Content-Length", fmt.Sprint(len(b)))
				return
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			if n == 1 {
				w.Write(b[:half])
				panic(http.ErrAbortHandler)
			}
			w.Write(b)
		}, 3},
		{"wrong once", func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				content(w, r, bytes.Repeat([]byte("x"), len(b)))
				return
			}
			content(w, r, b)
		}, 2},
		{"error page of another length once", func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				fmt.Fprint(w, "<html>please log in to the hotel</html>")
				return
			}
			content(w, r, b)
		}, 2},
	}
	for _, tc := range tests {
		for _, size := range []int64{int64(len(b)), 0} {
			t.Run(fmt.Sprintf("%s, size %d", tc.name, size), func(t *testing.T) {
				s := serve(t, tc.handler)
				c := testCache(t, t.TempDir())
				f, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{s.URL}, SHA256: sum, Size: size}, progress.Discard)
				if err != nil {
					t.Fatal(err)
				}
				want(t, f, b)
				if n := s.gets.Load(); n != tc.gets {
					t.Errorf("asked %d times, want %d", n, tc.gets)
				}
			})
		}
	}
}

// piecemeal breaks every connection after the given bytes.
func piecemeal(b []byte, piece int) func(n int, w http.ResponseWriter, r *http.Request) {
	return func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 { // HEAD
			content(w, r, b)
			return
		}
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b)-1, len(b)))
		w.Header().Set("Content-Length", fmt.Sprint(len(b)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(b[from:min(from+piece, len(b))])
		w.(http.Flusher).Flush()
		if from+piece < len(b) {
			panic(http.ErrAbortHandler)
		}
	}
}

// TestEveryPieceCountsAnew: a line that breaks more often than there are attempts brings the
// file, as long as each piece is more than a slow line would bring in that time.
func TestEveryPieceCountsAnew(t *testing.T) {
	b, sum := blob(200_000)
	for name, tc := range map[string]struct {
		piece int
		gets  int32
		comes bool
	}{
		"a tenth at a time":   {len(b) / 10, 10, true},
		"nothing at a time":   {0, 4, false},
		"a trickle at a time": {1, 4, false},
	} {
		s := serve(t, piecemeal(b, tc.piece))
		c := testCache(t, t.TempDir())
		c.retry.rate = 8 << 10
		f, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{s.URL}, SHA256: sum, Size: int64(len(b))}, progress.Discard)
		if n := s.gets.Load(); n != tc.gets || (err == nil) != tc.comes {
			t.Errorf("%s: asked %d times, want %d: %v", name, n, tc.gets, err)
		}
		if err == nil {
			want(t, f, b)
		}
	}
}

func TestGetNextSource(t *testing.T) {
	b, sum := blob(1000)
	gone := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	bad := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { content(w, r, make([]byte, len(b))) })
	good := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { content(w, r, b) })
	c := testCache(t, t.TempDir())
	f, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{closedPort(t), gone.URL, bad.URL, good.URL}, SHA256: sum}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want(t, f, b)
	if n := gone.gets.Load(); n != 1 {
		t.Errorf("a 404 was asked for %d times", n)
	}
	if n := bad.gets.Load(); n != 2 {
		t.Errorf("a wrong digest was fetched %d times, want 2", n)
	}
}

// closedPort is a mirror that is down.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String() + "/pool/x.deb"
}

func TestGetNamesEverySource(t *testing.T) {
	b, sum := blob(1000)
	_, other := blob(999)
	gone := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	wrong := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { content(w, r, b) })
	down := closedPort(t)
	secret := strings.Replace(gone.URL, "http://", "http://user:hunter2@", 1)
	c := testCache(t, t.TempDir())
	_, err := c.Get(t.Context(), Request{Name: "thing 1.0", URLs: []string{secret + "/a", down, wrong.URL + "/b", "ht!tp://", "http://mirror.invalid/c"}, SHA256: other}, progress.Discard)
	wantErr(t, err, "fetch thing 1.0", gone.URL[7:]+"/a: server returned 404", down+": ", "refused",
		wrong.URL+"/b: sha256 is "+sum+", want "+other, "http://mirror.invalid/c: ")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("password in the error:\n%v", err)
	}
	var all *Error
	if !errors.As(err, &all) || len(all.Attempts) != 5 {
		t.Errorf("error is %#v", err)
	}
	var digest *DigestError
	if !errors.As(err, &digest) {
		t.Error("no *DigestError inside")
	}
}

func TestDownMirrorCostsItsRetriesOnce(t *testing.T) {
	down := closedPort(t)
	good := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscanf(r.URL.Path, "/%d", &n)
		b, _ := blob(n)
		content(w, r, b)
	})
	c := testCache(t, t.TempDir())
	c.retry.base, c.retry.max = 50*time.Millisecond, 50*time.Millisecond
	start := time.Now()
	for i := 1; i <= 20; i++ {
		_, sum := blob(i)
		if _, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{down, fmt.Sprintf("%s/%d", good.URL, i)}, SHA256: sum}, progress.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(start); d > 1500*time.Millisecond {
		t.Errorf("20 files took %v", d)
	}
}

// A partial file longer than the remote one makes grab fail for ever.
func TestGetOverPartial(t *testing.T) {
	b, sum := blob(50_000)
	partials := map[string][]byte{
		"longer":        append(bytes.Clone(b), "and more"...),
		"longer, wrong": bytes.Repeat([]byte("z"), 60_000),
		"as long":       bytes.Repeat([]byte("z"), len(b)),
		"complete":      b,
		"wrong start":   bytes.Repeat([]byte("z"), 1000),
		"empty":         {},
	}
	for name, partial := range partials {
		for _, size := range []int64{int64(len(b)), 0} {
			t.Run(fmt.Sprintf("%s, size %d", name, size), func(t *testing.T) {
				s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { content(w, r, b) })
				c := testCache(t, t.TempDir())
				if err := os.WriteFile(c.tmp(Downloads, sum), partial, 0o644); err != nil {
					t.Fatal(err)
				}
				f, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{s.URL}, SHA256: sum, Size: size}, progress.Discard)
				if err != nil {
					t.Fatal(err)
				}
				want(t, f, b)
			})
		}
	}
}

func TestGetDamaged(t *testing.T) {
	b, sum := blob(50_000)
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { content(w, r, b) })
	c := testCache(t, t.TempDir())
	get := func(wantGets int32) *File {
		t.Helper()
		f, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{s.URL}, SHA256: sum, Size: int64(len(b))}, progress.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.gets.Load(); n != wantGets {
			t.Errorf("fetched %d times, want %d", n, wantGets)
		}
		return f
	}
	want(t, get(1), b)

	os.Truncate(c.path(Downloads, sum), 10) // seen by its size
	want(t, get(2), b)

	flipped := bytes.Clone(b)
	flipped[100] ^= 1
	os.WriteFile(c.path(Downloads, sum), flipped, 0o644) // seen when it is read
	var damaged *DamagedError
	if err := get(2).Verify(); !errors.As(err, &damaged) || damaged.Kind != Downloads || damaged.Key != sum {
		t.Errorf("Verify = %v", err)
	}
	if err := c.Drop(damaged.Kind, damaged.Key); err != nil {
		t.Fatal(err)
	}
	want(t, get(3), b)
}

func TestGetCancelled(t *testing.T) {
	b, sum := blob(50_000)
	started := make(chan struct{})
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		w.Write(b[:100])
		w.(http.Flusher).Flush()
		close(started)
		<-r.Context().Done()
	})
	c := testCache(t, t.TempDir())
	c.retry.stall = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	_, err := c.Get(ctx, Request{Name: "x", URLs: []string{s.URL, s.URL}, SHA256: sum}, progress.Discard)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
	if n := s.gets.Load(); n != 1 {
		t.Errorf("went on after Ctrl-C: %d requests", n)
	}
}

func TestGetTogether(t *testing.T) {
	b, sum := blob(500_000)
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { content(w, r, b) })
	dir := t.TempDir()
	caches := []*Cache{testCache(t, dir), testCache(t, dir)} // as two processes would
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			f, err := caches[i%2].Get(t.Context(), Request{Name: "x", URLs: []string{s.URL}, SHA256: sum}, progress.Discard)
			if err != nil {
				t.Error(err)
				return
			}
			want(t, f, b)
		})
	}
	wg.Wait()
	if n := s.gets.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func TestRedirects(t *testing.T) {
	b, sum := blob(100)
	plain := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { content(w, r, b) })
	moved := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL, http.StatusFound)
	})
	away := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "file:///etc/passwd")
		w.WriteHeader(http.StatusFound)
	})
	tls := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer tls.Close()
	c := testCache(t, t.TempDir())
	c.http.Transport.(*http.Transport).TLSClientConfig = tls.Client().Transport.(*http.Transport).TLSClientConfig
	if _, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{moved.URL}, SHA256: sum}, progress.Discard); err != nil {
		t.Error(err)
	}
	_, other := blob(101)
	_, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{tls.URL, away.URL}, SHA256: other}, progress.Discard)
	wantErr(t, err, "redirected from https to http", "redirected from http to file")
	if n := away.gets.Load(); n != 1 {
		t.Errorf("a refused redirect was tried %d times", n)
	}
}

func TestGetRefusesWithoutDigest(t *testing.T) {
	c := testCache(t, t.TempDir())
	_, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{"http://mirror.invalid"}}, progress.Discard)
	wantErr(t, err, "fetch x", "not a sha256")
	_, sum := blob(5)
	_, err = c.Get(t.Context(), Request{Name: "x", SHA256: sum}, progress.Discard)
	wantErr(t, err, "no source is known")
}

func TestFileMirror(t *testing.T) {
	b, sum := blob(5000)
	name := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	c := testCache(t, t.TempDir())
	f, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{"file://" + filepath.ToSlash(name)}, SHA256: sum}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want(t, f, b)
}

// tally is a reporter that adds up.
type tally struct {
	total, sum, done atomic.Int64
}

func (r *tally) Start(_, _ string, total int64) progress.Task { r.total.Store(total); return r }
func (r *tally) Add(n int64)                                  { r.sum.Add(n) }
func (r *tally) Done(err error)                               { r.done.Add(1) }

func TestProgressCountsOnce(t *testing.T) {
	b, sum := blob(200_000)
	s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			w.Write(b[:150_000])
			panic(http.ErrAbortHandler)
		}
		content(w, r, b)
	})
	c := testCache(t, t.TempDir())
	var r tally
	if _, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{s.URL}, SHA256: sum, Size: int64(len(b))}, &r); err != nil {
		t.Fatal(err)
	}
	if r.total.Load() != 200_000 || r.sum.Load() != 200_000 || r.done.Load() != 1 {
		t.Errorf("total %d, added %d, done %d times", r.total.Load(), r.sum.Load(), r.done.Load())
	}
}

// TestOpenOld: OpenOld creates no cache. If there is none, that is an error, except that
// the default one counts as empty before the first build.
func TestOpenOld(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x", "imagebuilder")
	if _, err := OpenOld(dir); err == nil || !strings.Contains(err.Error(), dir+" is no cache of imagebuilder") {
		t.Errorf("an absent directory: %v", err)
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Dir(dir))
	usual, err := OpenOld("")
	if err != nil {
		t.Fatal(err)
	}
	has, err := usual.Info()
	removed, pruned := usual.Prune(Policy{All: true})
	if err != nil || pruned != nil || len(has)+len(removed) > 0 || usual.Close() != nil {
		t.Errorf("the usual one: %v, %v, %v, %v", has, removed, err, pruned)
	}
	if _, err := os.Stat(filepath.Dir(dir)); err == nil {
		t.Error("it was made")
	}
	made, err := OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	made.Close()
	old, err := OpenOld(dir)
	if err != nil {
		t.Fatal(err)
	}
	old.Close()
}
