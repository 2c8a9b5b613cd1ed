package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/progress"
)

// The test binary is its own second process: with FETCH_TEST_DIR set it
// fetches and derives, and says what it did.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FETCH_TEST_DIR"); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const childFiles = 12

func child(dir string) error {
	c, err := OpenCache(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	for n := 1; n <= childFiles; n++ {
		size := n * 20_000
		b, sum := blob(size)
		r := Request{Name: "x", URLs: []string{fmt.Sprintf("%s/%d", os.Getenv("FETCH_TEST_URL"), size)}, SHA256: sum, Size: int64(size)}
		in, err := c.Get(context.Background(), r, progress.Discard)
		if err != nil {
			return err
		}
		f, err := c.Derive(context.Background(), "twice", sum, func(w io.Writer) error { return copyTwice(w, in.Path()) })
		if err != nil {
			return err
		}
		got, err := f.Bytes()
		if err != nil {
			return err
		}
		if !bytes.Equal(got, append(bytes.Clone(b), b...)) {
			return errors.New("wrong content")
		}
	}
	return nil
}

func copyTwice(w io.Writer, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for range 2 {
		time.Sleep(time.Millisecond) // a moment to be killed in
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func startChild(t *testing.T, dir, url string) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "FETCH_TEST_DIR="+dir, "FETCH_TEST_URL="+url)
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &out
}

// drip serves blobs by size, slowly.
func drip(t *testing.T) *server {
	return serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		var size int
		fmt.Sscanf(r.URL.Path, "/%d", &size)
		b, _ := blob(size)
		time.Sleep(2 * time.Millisecond)
		content(w, r, b)
	})
}

func TestProcessesTogether(t *testing.T) {
	s, dir := drip(t), t.TempDir()
	var children []*exec.Cmd
	var outs []*strings.Builder
	for range 3 {
		cmd, out := startChild(t, dir, s.URL)
		children, outs = append(children, cmd), append(outs, out)
	}
	for i, cmd := range children {
		if err := cmd.Wait(); err != nil {
			t.Errorf("child %d: %v\n%s", i, err, outs[i])
		}
	}
	if n := s.gets.Load(); n != childFiles {
		t.Errorf("%d downloads of %d files", n, childFiles)
	}
	wantClean(t, dir)
}

func TestKillAndRunAgain(t *testing.T) {
	s, dir := drip(t), t.TempDir()
	for i := range 30 {
		cmd, _ := startChild(t, dir, s.URL)
		time.Sleep(time.Duration(5+3*i) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
	}
	cmd, out := startChild(t, dir, s.URL)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wantClean(t, dir)
}

// wantClean opens the cache once more and looks for debris and damage.
func wantClean(t *testing.T, dir string) {
	t.Helper()
	c := testCache(t, dir)
	for _, d := range []string{tmpDir, lockDir} {
		if left, _ := os.ReadDir(c.Dir() + "/" + d); len(left) > 0 {
			t.Errorf("left in %s: %v", d, left)
		}
	}
	entries, err := c.list()
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2*childFiles {
		t.Errorf("%d entries, want %d", len(entries), 2*childFiles)
	}
	for n := 1; n <= childFiles; n++ {
		_, sum := blob(n * 20_000)
		in, ok := c.downloaded(sum, 0)
		twice, ok2 := c.derived("twice", sum)
		if !ok || !ok2 {
			t.Errorf("blob %d is not in the cache", n)
			continue
		}
		if err := errors.Join(in.Verify(), twice.Verify()); err != nil {
			t.Error(err)
		}
	}
}
