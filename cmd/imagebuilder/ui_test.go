package main

import (
	"bytes"
	"testing"
	"time"
)

// TestProgressSaysWhatIsKnown: a compiler tells no bytes, a server without
// Content-Length no end.
func TestProgressSaysWhatIsKnown(t *testing.T) {
	var out bytes.Buffer
	u := &ui{out: &out, stages: map[string]*stage{}}
	line := func(want string) {
		t.Helper()
		out.Reset()
		for _, s := range u.order {
			s.began = time.Now().Add(-35 * time.Second)
		}
		u.plainLines()
		if got := out.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	compile := u.Start("compile", "tailscale.com@v1.102.5 for arm64", -1)
	line("compile: 0 of 1 done, for 35 s, last tailscale.com@v1.102.5 for arm64\n")
	line("compile: 0 of 1 done, for 35 s, last tailscale.com@v1.102.5 for arm64\n")
	compile.Done(nil)
	line("compile: 1 of 1 done, for 35 s, last tailscale.com@v1.102.5 for arm64\n")
	line("")
	fetch := u.Start("fetch", "k3s", -1)
	fetch.Add(70e6)
	line("fetch: 0 of 1 done, 70.0 MB, 2.0 MB/s, last k3s\n")
	u.Start("fetch", "bash", 140e6)
	line("fetch: 0 of 2 done, 70.0 of 140.0 MB, 2.0 MB/s, 35s left, last bash\n")
}
