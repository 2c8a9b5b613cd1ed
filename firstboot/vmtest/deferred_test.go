//go:build vm && linux

package vmtest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestDeferred starts an image without k3s. The source of k3s is first wrong and then behind a
// connection that breaks. The clock begins in the year 2100 without a time server, which systemd
// corrects by itself, and is set to the future once more later.
func TestDeferred(t *testing.T) {
	const boardName = "generic-amd64"
	program, err := os.ReadFile(k3s(t, "amd64"))
	if err != nil {
		t.Fatal(err)
	}
	source := &source{wrong: true, content: program}
	server := httptest.NewServer(source)
	t.Cleanup(server.Close)
	img := filepath.Join(t.TempDir(), "deferred.img")
	// Only guests know this address: during the build nothing answers there.
	build(t, boardName, img, "--component", fmt.Sprintf("k3s=%s/k3s#sha256=%x", forGuests(server.URL), sha256.Sum256(program)))

	tn := newTailnet(t)
	m := newMachine(t, boardName, img)
	cfg := tn.first("home-pi")
	ntp := cfg.Network.NTP
	cfg.Network.NTP = nil
	m.personalise(cfg)
	m.powerOn("-rtc", "base=2100-01-01T00:00:00")
	m.tells("component-digest", "is not the expected file (wrong digest)", "Do not use this network")
	if got := m.sh("ls /var/lib/imagebuilder/components/k3s 2>/dev/null; test -e /usr/local/bin/k3s && echo installed || true"); strings.Contains(got, "installed") {
		t.Errorf("the wrong file was installed: %s", got)
	}
	if year := m.sh("date +%%Y"); year >= "2100" {
		t.Errorf("the clock says %s", year)
	}
	m.sh("date -s 2060-01-01; firstboot retry")
	m.tells("clock-wrong", "The clock is wrong (2060-01-01)", "name a time server in node.yaml")
	cfg.Network.NTP = ntp
	m.replace(cfg)
	m.until("right about the time", func(s firstboot.Status) bool { return s.Problem != nil && s.Problem.Code == "component-digest" })

	source.repair()
	m.sh("firstboot retry")
	m.seeProblem("component-down")
	m.joins()
	if n := source.resumed(); n < 2 {
		t.Errorf("%d downloads were resumed, want at least 2", n)
	}
	if got := m.sh("sha256sum < /usr/local/bin/k3s; ls /var/lib/imagebuilder/components/k3s"); got != fmt.Sprintf("%x  -\nk3s\nsha256", sha256.Sum256(program)) {
		t.Errorf("installed: %s", got)
	}
	m.powerOff()
}

// source serves a program: first a wrong one, then over a connection that breaks after each third
// of it.
type source struct {
	content []byte

	mu      sync.Mutex
	wrong   bool
	resumes int
}

func (s *source) repair() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = false
}

func (s *source) resumed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resumes
}

func (s *source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	wrong := s.wrong
	if r.Method == http.MethodGet && r.Header.Get("Range") != "" {
		s.resumes++
	}
	s.mu.Unlock()
	content := s.content
	if wrong {
		content = bytes.Repeat([]byte("x"), len(content))
	} else if r.Method == http.MethodGet {
		w = &breaking{w, len(content)*2/5 + 1}
	}
	http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(content))
}

// breaking is a connection that is lost after some bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) < b.left {
		b.left -= len(p)
		return b.ResponseWriter.Write(p)
	}
	if _, err := b.ResponseWriter.Write(p[:b.left]); err == nil {
		_ = http.NewResponseController(b.ResponseWriter).Flush()
	}
	panic(http.ErrAbortHandler)
}
