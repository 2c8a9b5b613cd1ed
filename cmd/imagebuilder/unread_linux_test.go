package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// minter is a fake Headscale that makes one key, and records whether that was expired.
func minter(t *testing.T) (at string, ended *atomic.Bool) {
	t.Helper()
	ended = &atomic.Bool{}
	var key map[string]any
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/user", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"user": map[string]any{"id": "1", "name": "shed"}})
	})
	mux.HandleFunc("POST /api/v1/preauthkey", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(&key)
		key = map[string]any{"id": "7", "key": "hskey-auth-prefix-secret", "expiration": key["expiration"], "aclTags": key["aclTags"]}
		answer(w, map[string]any{"preAuthKey": key})
	})
	mux.HandleFunc("GET /api/v1/preauthkey", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"preAuthKeys": []any{key}})
	})
	mux.HandleFunc("POST /api/v1/preauthkey/expire", func(w http.ResponseWriter, _ *http.Request) {
		ended.Store(true)
		key["expiration"] = time.Now()
		answer(w, map[string]any{})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, ended
}

// unread runs a command in dir whose standard output nobody reads and, with both, its
// standard error neither.
func unread(t *testing.T, dir string, both bool, args ...string) (code int, told string) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	read.Close()
	defer write.Close()
	var stderr bytes.Buffer
	cmd := exec.Command("imagebuilder", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, write, io.Writer(&stderr), append(os.Environ(), "HEADSCALE_API_KEY=abcdefg.secret")
	if both {
		cmd.Stderr = write
	}
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), stderr.String()
}

// TestNobodyReads: a pipe without a reader interrupts the program, and clean-up is done.
func TestNobodyReads(t *testing.T) {
	at, ended := minter(t)
	dir := filepath.Join(t.TempDir(), "shed")
	if out, err := exec.Command("imagebuilder", "fleet", "init", dir, "--name", "shed", "--headscale", at).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, both := range []bool{false, true} {
		ended.Store(false)
		if code, told := unread(t, dir, both, "key", "home-pi"); code != exitInterrupted || told != "" || !ended.Load() {
			t.Errorf("standard error is the same pipe: %v; it ended with %d, the key was ended: %v, %q", both, code, ended.Load(), told)
		}
	}
}

// TestNobodyReadsOn: if the reader of a list stops early, no error is printed.
func TestNobodyReadsOn(t *testing.T) {
	for _, line := range []string{"boards", "boards show rpi4", "components", "fleet schema", "version"} {
		if code, told := unread(t, t.TempDir(), false, strings.Fields(line)...); code != exitInterrupted || told != "" {
			t.Errorf("%s: it ended with %d, %q", line, code, told)
		}
	}
}

// TestNobodyReadsTheProgress: if nobody reads standard error, writing progress there
// interrupts, however long it takes.
func TestNobodyReadsTheProgress(t *testing.T) {
	signal.Ignore(syscall.SIGPIPE) // so that only the program's own handling of SIGPIPE counts
	defer signal.Reset(syscall.SIGPIPE)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	read.Close()
	defer write.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	cmd := &cobra.Command{}
	cmd.SetErr(stream{write, interrupt})
	u := newUI(cmd, false)
	defer u.close()
	u.Start("fetch", "k3s", -1)
	if u.plainLines(); ctx.Err() == nil {
		t.Error("it goes on")
	}
}
