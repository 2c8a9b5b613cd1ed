package fetch

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/progress"
)

func getIndex(t *testing.T, c *Cache, r IndexRequest) string {
	t.Helper()
	f, err := c.GetIndex(t.Context(), r, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGetIndex(t *testing.T) {
	text, tag := "one", `"1"`
	var full, unchanged int
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == tag {
			unchanged++
			w.WriteHeader(http.StatusNotModified)
			return
		}
		full++
		w.Header().Set("ETag", tag)
		fmt.Fprint(w, text)
	})
	c := testCache(t, t.TempDir())
	r := IndexRequest{Name: "InRelease", URL: s.URL}
	expect := func(want string, wantFull, wantUnchanged int) {
		t.Helper()
		if got := getIndex(t, c, r); got != want || full != wantFull || unchanged != wantUnchanged {
			t.Errorf("got %q after %d full and %d unchanged answers, want %q, %d, %d", got, full, unchanged, want, wantFull, wantUnchanged)
		}
	}
	expect("one", 1, 0)
	expect("one", 1, 1)
	text, tag = "two", `"2"`
	expect("two", 2, 1)

	f, _ := c.GetIndex(t.Context(), r, progress.Discard)
	os.WriteFile(f.Path(), []byte("tw0"), 0o644) // same size, damaged
	expect("two", 3, 2)
}

func TestGetIndexByDate(t *testing.T) {
	const date = "Sat, 21 Nov 2026 02:10:46 GMT"
	s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n > 1 && r.Header.Get("If-Modified-Since") != date {
			t.Error("asked unconditionally")
		}
		if n > 1 {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Last-Modified", date)
		fmt.Fprint(w, "text")
	})
	c := testCache(t, t.TempDir())
	for range 3 {
		if got := getIndex(t, c, IndexRequest{Name: "i", URL: s.URL}); got != "text" {
			t.Errorf("got %q", got)
		}
	}
}

func TestGetIndexFaults(t *testing.T) {
	s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/long":
			fmt.Fprint(w, "0123456789")
		case r.URL.Path == "/gone":
			http.NotFound(w, r)
		case n == 1:
			http.Error(w, "later", http.StatusBadGateway)
		case n == 2:
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "cut")
		default:
			fmt.Fprint(w, "right")
		}
	})
	c := testCache(t, t.TempDir())
	if got := getIndex(t, c, IndexRequest{Name: "i", URL: s.URL + "/x"}); got != "right" {
		t.Errorf("got %q", got)
	}
	for url, want := range map[string]string{
		s.URL + "/gone": "/gone: server returned 404", s.URL + "/long": "/long: longer than announced: more than 9 bytes", closedPort(t): "refused",
	} {
		_, err := c.GetIndex(t.Context(), IndexRequest{Name: "i", URL: url, Limit: 9}, progress.Discard)
		wantErr(t, err, "fetch i", want)
	}
}

// TestNoPasswordIsKept: of an address with one, neither on the disk nor in words.
func TestNoPasswordIsKept(t *testing.T) {
	asked := 0
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		asked++
		w.Header().Set("ETag", `"1"`)
		fmt.Fprint(w, "text")
	})
	dir := t.TempDir()
	c := testCache(t, dir)
	r := IndexRequest{Name: "InRelease", URL: strings.Replace(s.URL, "http://", "http://user:hunter2@", 1)}
	for range 2 {
		getIndex(t, c, r)
	}
	if asked != 1 {
		t.Errorf("the whole file was asked for %d times", asked)
	}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if strings.Contains(string(text), "hunter2") {
			t.Errorf("%s: %s", name, text)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	r.URL = "http://user:hunter2@a b/"
	if _, err := c.GetIndex(t.Context(), r, progress.Discard); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("of an address that is none: %v", err)
	}
	_, err = c.Get(t.Context(), Request{Name: "x", URLs: []string{r.URL}, SHA256: strings.Repeat("a", 64)}, progress.Discard)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("of an address that is none: %v", err)
	}
}
