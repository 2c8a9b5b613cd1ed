package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
)

// node is the other side: it keeps what comes until the line breaks.
type node struct {
	t      *testing.T
	got    []byte
	cutAt  int   // the connection breaks after this many bytes of each attempt, 0 for never
	down   int   // how many questions are not answered after each break
	refuse error // once all is there
	late   bool  // the connection breaks while the node installs what it has
	before bool  // the same update was installed once before
	done   string
	silent int
	tries  int
}

var errLine = errors.New("connection closed by remote host")

func (n *node) tell(_ context.Context, command string, input io.Reader) ([]byte, error) {
	if n.silent > 0 {
		n.silent--
		return nil, errors.New("ssh: connect to host 100.64.0.7 port 22: No route to host")
	}
	if input == nil {
		if n.before && n.done == "" {
			n.done = `,"at":"2026-01-01T00:00:00Z","done":{"installed":true,"slot":"a","version":"one","fetched":7}`
		}
		return fmt.Appendf(nil, `{"have":%d%s}`, len(n.got), n.done), nil
	}
	n.tries++
	if !strings.HasSuffix(command, fmt.Sprintf("--from %d -", len(n.got))) {
		n.t.Errorf("%s, with %d bytes there", command, len(n.got))
	}
	if n.cutAt > 0 {
		piece := make([]byte, n.cutAt)
		k, err := io.ReadFull(input, piece)
		n.got = append(n.got, piece[:k]...)
		if err == nil {
			n.silent = n.down
			return nil, errLine
		}
	} else {
		rest, _ := io.ReadAll(input)
		n.got = append(n.got, rest...)
	}
	if n.late {
		n.got, n.silent = nil, n.down
		n.done = `,"at":"2026-01-02T00:00:00Z","done":{"installed":true,"slot":"b","version":"two","fetched":7}`
		return nil, errLine
	}
	if n.refuse != nil {
		n.got = nil
		return nil, n.refuse
	}
	sum := sha256.Sum256(n.got)
	if !strings.Contains(command, "--id "+hex.EncodeToString(sum[:])+" ") {
		n.t.Errorf("%s: these bytes are others", command)
	}
	return []byte(`{"installed":true,"slot":"b","version":"two","fetched":7}`), nil
}

func pushTo(t *testing.T, n *node, size int) (Answer, time.Duration, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "update")
	if err := os.WriteFile(name, []byte(strings.Repeat("0123456789", size/10)), 0o600); err != nil {
		t.Fatal(err)
	}
	n.t = t
	var waited time.Duration
	p := pusher{tell: n.tell, pause: func(ctx context.Context, d time.Duration) error { waited += d; return ctx.Err() }}
	a, err := p.push(t.Context(), name)
	return a, waited, err
}

// TestPush: over a connection that breaks again and again each byte is sent once. A node
// that refuses, and a connection that stays down, are not tried for ever.
func TestPush(t *testing.T) {
	for name, c := range map[string]struct {
		node  node
		tries int
		fault string
	}{
		"whole":           {node{}, 1, ""},
		"cut often":       {node{cutAt: 20}, 51, ""},
		"down each time":  {node{cutAt: 300, down: 3}, 4, ""},
		"stays down":      {node{cutAt: 300, down: 100}, 1, "closed by remote host"},
		"never there":     {node{silent: 1}, 0, "No route to host"},
		"down at the end": {node{late: true, down: 3}, 1, ""},
		"and before, too": {node{late: true, before: true}, 1, ""},
		"only before":     {node{before: true, refuse: errLine}, 1, "closed by remote host"},
		"refused":         {node{refuse: errors.New("firstboot: the update is for board rpi5, this node's is rpi4")}, 1, "for board rpi5"},
	} {
		t.Run(name, func(t *testing.T) {
			a, waited, err := pushTo(t, &c.node, 1000)
			if c.node.tries != c.tries || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Fatalf("%d tries: %+v, %v", c.node.tries, a, err)
			}
			if err == nil && a != (Answer{Installed: true, Slot: "b", Version: "two", Fetched: 7}) {
				t.Errorf("%+v", a)
			}
			if waited > 10*time.Minute {
				t.Errorf("it waited %s", waited)
			}
		})
	}
}

// TestNoUpdates: a node with another kind of answer does not support updates.
func TestNoUpdates(t *testing.T) {
	for _, answer := range []string{"", "{}", `{"have":-1}`, "welcome"} {
		p := pusher{pause: ctxio.Sleep, tell: func(context.Context, string, io.Reader) ([]byte, error) { return []byte(answer), nil }}
		if _, err := p.push(t.Context(), os.Args[0]); err == nil || !strings.Contains(err.Error(), "tells of no update") {
			t.Errorf("%q: %v", answer, err)
		}
	}
}
