package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// waiting runs a shell command line whose command waits for Headscale's answer. stderr is
// the other end of its standard error.
func waiting(t *testing.T, line string) (cmd *exec.Cmd, stderr *os.File) {
	t.Helper()
	asked := make(chan bool, 8)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- true
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	dir := filepath.Join(t.TempDir(), "shed")
	out, err := exec.Command("imagebuilder", "fleet", "init", dir, "--name", "shed", "--headscale", server.URL).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close() })
	cmd = exec.Command("sh", "-c", line)
	cmd.Dir, cmd.Stderr, cmd.Env = dir, write, append(os.Environ(), "HEADSCALE_API_KEY=abcdefg.secret")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	write.Close()
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Fatal("it does not ask Headscale")
	}
	return cmd, read
}

// TestHangup: a closed terminal interrupts the program, but does not stop its clean-up,
// although both the shell and the kernel send SIGHUP and nobody reads the output.
func TestHangup(t *testing.T) {
	cmd, stderr := waiting(t, "exec env --default-signal=HUP imagebuilder status --no-ask") // these tests may run under nohup
	stderr.Close()
	for range 2 {
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
}

// TestNohup: under nohup a closed terminal does not interrupt.
func TestNohup(t *testing.T) {
	cmd, stderr := waiting(t, "trap '' HUP; exec imagebuilder status --no-ask")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 4096)
	if err := stderr.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := stderr.Read(text); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it has ended: %v: %s", err, text[:n])
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
}
