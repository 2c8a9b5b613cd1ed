package inquiry

import (
	"cmp"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/vps"
)

// sshd is a node's ssh server. It makes a host key if it is given none.
type sshd struct {
	host   ssh.Signer
	at     string // where it listens; default any port
	port   string
	answer func() string
	life   func() string
	found  string
}

func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(pem.EncodeToMemory(block))
}

func (s *sshd) start(t *testing.T, login ssh.PublicKey) {
	t.Helper()
	if s.host == nil {
		s.host, _ = newKey(t)
	}
	l, err := net.Listen("tcp", cmp.Or(s.at, "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, s.port, _ = net.SplitHostPort(l.Addr().String())
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "root" || string(key.Marshal()) != string(login.Marshal()) {
			return nil, fmt.Errorf("unknown")
		}
		return nil, nil
	}}
	config.AddHostKey(s.host)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn, config)
		}
	}()
}

func (s *sshd) serve(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			_ = r.Reply(r.Type == "exec", nil)
			if r.Type != "exec" {
				continue
			}
			if string(r.Payload[4:]) == contract.AskStatus {
				_, _ = io.WriteString(channel, s.answer())
			}
			if string(r.Payload[4:]) == lifeQuestion {
				_, _ = io.WriteString(channel, s.life())
			}
			if string(r.Payload[4:]) == examination {
				_, _ = io.WriteString(channel, s.found)
			}
			if string(r.Payload[4:]) == "count" { // what it is given
				n, _ := io.Copy(io.Discard, channel)
				_, _ = fmt.Fprint(channel, n)
			}
			status := uint32(0)
			switch string(r.Payload[4:]) {
			case "refuse":
				_, _ = io.WriteString(channel.Stderr(), "firstboot: a warning\nfirstboot: no\n")
				status = 1
			case "break": // the line
				conn.Close()
				return
			case "die":
				_, _ = channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
					Signal      string
					Dumped      bool
					Text, Speak string
				}{Signal: "KILL"}))
				channel.Close()
				continue
			}
			_, _ = channel.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, status))
			channel.Close()
		}
	}
}

// owner is a user whose ssh program connects to the tests' nodes, with a key that they
// accept.
type owner struct {
	t     *testing.T
	fleet *fleet.Fleet
	bin   string
	login ssh.PublicKey
}

func newOwner(t *testing.T) *owner {
	real, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatal("needs ssh (run make deps)")
	}
	dir, bin := t.TempDir(), t.TempDir()
	f, err := fleet.Load(filepath.Join(dir, fleet.FileName), fleet.Example, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, fleet.SecretsDir), 0o700); err != nil {
		t.Fatal(err)
	}
	signer, text := newKey(t)
	if err := os.WriteFile(filepath.Join(bin, "key"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nexec %s -F none -i %s/key -p \"$(cat %s/port)\" \"$@\"\n", real, bin, bin)
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	t.Setenv("SSH_AUTH_SOCK", "")
	return &owner{t, f, bin, signer.PublicKey()}
}

func (o *owner) asks(s *sshd, number string, joined ...time.Time) Answer {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.bin, "port"), []byte(s.port), 0o600); err != nil {
		o.t.Fatal(err)
	}
	n := Subject{Node: "cabin-pi", Number: number, Address: netip.MustParseAddr("127.0.0.1")}
	if len(joined) > 0 {
		n.Joined = joined[0]
	}
	return Ask(o.t.Context(), o.fleet, []Subject{n})[0]
}

// says is what firstboot prints.
func says(problem string) string {
	b, _ := json.Marshal(map[string]any{"state": "needs-person", "program": "v1.2.3", "slot": "b",
		"problem": map[string]string{"code": "x", "summary": problem, "remedy": "Pull the plug."}})
	return string(b)
}

// TestWords: what a node says is returned in one line without control characters; junk and
// floods are refused.
func TestWords(t *testing.T) {
	o := newOwner(t)
	said := says("The disk\n is \x1b[2Jfull\u202e.")
	n := &sshd{answer: func() string { return said }}
	n.start(t, o.login)
	got := o.asks(n, "1")
	want := Answer{State: "needs-person", Version: "v1.2.3", Slot: "b", Problem: "The disk is [2Jfull .", Remedy: "Pull the plug."}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if words := strings.Join(got.Words(), "; "); words != "it says that it is needs-person; The disk is [2Jfull . Pull the plug." {
		t.Error(words)
	}
	if (Answer{State: "joined", Version: "v1"}).Words() != nil {
		t.Error("a node that is well has words")
	}
	for _, said = range []string{"no JSON", "{}", "", says(strings.Repeat("long ", vps.MaxOutput))} {
		if got := o.asks(n, "1"); got.Silent != "the answer is no status" || got.State != "" {
			t.Errorf("%.20q: %+v", said, got)
		}
	}
	said = says(strings.Repeat("x", 2000))
	if got := o.asks(n, "1"); len(got.Problem) != maxWords {
		t.Errorf("a problem of %d characters", len(got.Problem))
	}
}

// TestAnotherMachine: a machine that shows another host key than at first is not believed; a
// machine that joined in the node's place is.
func TestAnotherMachine(t *testing.T) {
	o := newOwner(t)
	first := &sshd{answer: func() string { return says("a") }}
	second := &sshd{answer: func() string { return says("b") }}
	first.start(t, o.login)
	second.start(t, o.login)
	if got := o.asks(first, "1"); got.Problem != "a" {
		t.Fatalf("%+v", got)
	}
	if got := o.asks(second, "1"); got.Problem != "" || !strings.Contains(got.Silent, "Host key verification failed.") || !strings.Contains(got.Silent, `ssh-keygen -R cabin-pi.1 -f "`+filepath.Join(o.fleet.Dir(), "secrets", "known_hosts")+`"`) {
		t.Errorf("a stranger is heard, or nothing is to be done: %+v", got)
	}
	// A new Headscale gives out its numbers again. An entry from before names had times
	// stays valid.
	for _, c := range []struct {
		by     *sshd
		number string
		joined int64
		want   string
	}{{second, "1", 1790000000, ""}, {first, "1", 1790000000, "a"}, {first, "3", 1790000000, "a"}, {second, "3", 1790000000, ""}, {second, "3", 1800000000, "b"}} {
		if got := o.asks(c.by, c.number, time.Unix(c.joined, 0)); got.Problem != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	if got := o.asks(second, "2"); got.Problem != "b" {
		t.Errorf("%+v", got)
	}
	if fi, err := os.Stat(filepath.Join(o.fleet.Dir(), "secrets", "known_hosts")); err != nil || fi.Size() == 0 {
		t.Error(err)
	}
}

// TestInput: all of the input arrives, and so does its end. Without an input there is
// nothing to read.
func TestInput(t *testing.T) {
	o := newOwner(t)
	s := &sshd{}
	s.start(t, o.login)
	if err := os.WriteFile(filepath.Join(o.bin, "port"), []byte(s.port), 0o600); err != nil {
		t.Fatal(err)
	}
	countsInput(t, o.fleet, Subject{Node: "cabin-pi", Number: "1", Address: netip.MustParseAddr("127.0.0.1")})
}

// TestNo: a command's failure on the node is distinguished from a failure of the connection.
func TestNo(t *testing.T) {
	o := newOwner(t)
	s := &sshd{}
	s.start(t, o.login)
	if err := os.WriteFile(filepath.Join(o.bin, "port"), []byte(s.port), 0o600); err != nil {
		t.Fatal(err)
	}
	saysNo(t, o.fleet, Subject{Node: "cabin-pi", Number: "1", Address: netip.MustParseAddr("127.0.0.1")})
}

func saysNo(t *testing.T, f *fleet.Fleet, s Subject) {
	t.Helper()
	var no *No
	if _, err := Tell(t.Context(), f, s, "refuse", nil); !errors.As(err, &no) || !strings.HasPrefix(no.Words, "firstboot: no") {
		t.Errorf("refuse: %v", err)
	}
	for _, command := range []string{"break", "die"} {
		if _, err := Tell(t.Context(), f, s, command, nil); err == nil || errors.As(err, &no) {
			t.Errorf("%s: %v is the node's answer", command, err)
		}
	}
}

func countsInput(t *testing.T, f *fleet.Fleet, s Subject) {
	t.Helper()
	if out, err := Tell(t.Context(), f, s, "count", io.LimitReader(endless{}, 5<<20)); err != nil || string(out) != "5242880" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := Tell(t.Context(), f, s, "count", nil); err != nil || string(out) != "0" {
		t.Errorf("without input: %q, %v", out, err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// late says that this machine was too busy for a result.
func late(r Answer) bool { return r.Silent == "no answer in time" }

// TestSilence: a node that does not let the owner in, or does not exist, is reported as
// silent.
func TestSilence(t *testing.T) {
	o := newOwner(t)
	other, _ := newKey(t)
	closed := &sshd{answer: func() string { return says("a") }}
	closed.start(t, other.PublicKey())
	if got := o.asks(closed, "1"); got.State != "" || !strings.Contains(got.Silent, "ermission denied") && !late(got) {
		t.Errorf("%+v", got)
	}
	if got := o.asks(&sshd{port: "1"}, "1"); got.State != "" || !strings.Contains(got.Silent, "refused") && !late(got) {
		t.Errorf("%+v", got)
	}
	t.Setenv("PATH", t.TempDir())
	if got := o.asks(closed, "1"); got.Silent != "there is no ssh on this computer" {
		t.Errorf("%+v", got)
	}
}

// TestANodeIsExamined: the findings are returned, without checks that passed and without
// control characters.
func TestANodeIsExamined(t *testing.T) {
	o := newOwner(t)
	for found, want := range map[string]string{
		`[{"group":"Cluster","check":"clocks agree","verdict":"ok"},{"group":"Backups","check":"b\u001b[2J","verdict":"warning","detail":"none"}]`: "[{Backups b [2J warning none}] ",
		`[{"group":"Cluster","check":"clocks agree","verdict":"ok"}]`:                                                                              "[] ",
		"firstboot: unknown flag": "[] the answer is no examination: its image is older",
		"[]":                      "[] the answer is no examination: its image is older",
	} {
		s := &sshd{found: found}
		s.start(t, o.login)
		if err := os.WriteFile(filepath.Join(o.bin, "port"), []byte(s.port), 0o600); err != nil {
			t.Fatal(err)
		}
		number := s.port // a machine of its own each time, with a key of its own
		got := Examine(t.Context(), o.fleet, []Subject{{Node: "cabin-pi", Number: number, Address: netip.MustParseAddr("127.0.0.1")}})[0]
		if text := fmt.Sprintf("%v %s", got.Findings, got.Silent); text != want {
			t.Errorf("%s: %q, want %q", found, text, want)
		}
	}
}

// TestLife: boot ID and uptime come before the status; junk is refused.
func TestLife(t *testing.T) {
	const status = `{"state":"joined","slot":"b","image":"2026.1","made":"2026-01-02T03:04:05Z","good":"a","trial":"b","tries":2}`
	o := newOwner(t)
	said := "c0ffee\n12.50 40.00\n" + status
	n := &sshd{life: func() string { return said }}
	n.start(t, o.login)
	if err := os.WriteFile(filepath.Join(o.bin, "port"), []byte(n.port), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func() Life {
		return Live(t.Context(), o.fleet, []Subject{{Node: "cabin-pi", Number: "1", Address: netip.MustParseAddr("127.0.0.1")}})[0]
	}
	want := Life{Answer{State: "joined", Slot: "b", Image: "2026.1", Made: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Good: "a", Trial: "b", Tries: 2}, "c0ffee", 12500 * time.Millisecond}
	if got := ask(); got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for _, said = range []string{"", status, "c0ffee\nNaN 1\n" + status, "c0ffee\n-1 1\n" + status, "\n1 1\n" + status, "c0ffee\n1e300 1\n" + status, "c0ffee\n1 1\n{}"} {
		if got := ask(); got.Silent == "" || got.State != "" {
			t.Errorf("%q: %+v", said, got)
		}
	}
}

// TestARefusalIsNoSilence: a node that refuses was asked. A node that does not exist, or
// does not answer in time, was not.
func TestARefusalIsNoSilence(t *testing.T) {
	o := newOwner(t)
	n := &sshd{}
	n.start(t, o.login)
	s := Subject{Node: "cabin-pi", Number: "1", Address: netip.MustParseAddr("127.0.0.1")}
	for port, silent := range map[string]bool{n.port: false, "1": true} {
		if err := os.WriteFile(filepath.Join(o.bin, "port"), []byte(port), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Tell(t.Context(), o.fleet, s, "refuse", nil)
		var is *SilentError
		if err == nil || errors.As(err, &is) != silent || errors.As(Plain(err), &is) != silent || !silent && err.Error() != "firstboot: no" {
			t.Errorf("port %s: %v", port, err)
		}
	}
	var is *SilentError
	if _, err := Tell(t.Context(), o.fleet, Subject{Node: o.fleet.Control(), Address: s.Address}, "refuse", nil); !errors.As(err, &is) {
		t.Errorf("a machine with Headscale that was never made: %v", err)
	}
}
