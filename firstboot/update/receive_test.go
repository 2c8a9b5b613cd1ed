//go:build linux

package update_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/firstboot/update"
)

func (w *world) spool() host.Spool {
	return host.Spool{Dir: filepath.Join(w.dir, "var/lib/imagebuilder/update")}
}

// receive appends the rest of an update, from r, after the bytes that have arrived.
func (w *world) receive(id string, from int64, r io.Reader) (*update.Result, error) {
	return update.Receive(w.t.Context(), w.host(), slots{w}, w.spool(), id, from, r)
}

func (w *world) progress(id string) contract.UpdateProgress {
	w.t.Helper()
	p, err := update.Progress(w.spool(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) have(id string) int64 {
	w.t.Helper()
	n, err := w.spool().Have(id)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// broken gives n bytes and then breaks off as a connection does: with an end of file, or with an
// error.
func broken(data []byte, n int, err error) io.Reader {
	return io.MultiReader(bytes.NewReader(data[:min(n, len(data))]), fails{err})
}

type fails struct{ error }

func (f fails) Read([]byte) (int, error) { return 0, f.error }

// TestCutFiveHundredTimes: over a connection that breaks every few hundred bytes to few kilobytes,
// the update arrives all the same, each byte once.
func TestCutFiveHundredTimes(t *testing.T) {
	w := newWorld(t, piBoard)
	data := w.artifact(1, nil)
	id, cuts := digest(data), 0
	for {
		have := w.have(id)
		end := error(io.EOF)
		if cuts%2 == 1 {
			end = errors.New("connection reset by peer")
		}
		r, err := w.receive(id, have, broken(data[have:], len(data)/500, end))
		if now := int64(len(data)) - have; err == nil || now < int64(len(data)/500) {
			if err != nil {
				r, err = w.receive(id, w.have(id), bytes.NewReader(nil))
			}
			if err != nil || !r.Installed || r.Fetched != int64(len(data)) {
				t.Fatalf("after %d cuts: %+v, %v", cuts, r, err)
			}
			break
		}
		if cuts++; w.have(id) != have+int64(len(data)/500) {
			t.Fatalf("%d of %d bytes after %d", w.have(id), len(data), have)
		}
	}
	t.Logf("%d cuts, %d bytes", cuts, len(data))
	if cuts < 500 || digest(w.roots["b"]) != digest(newRoot) {
		t.Errorf("%d cuts; slot b is not what was sent", cuts)
	}
	if left, _ := os.ReadDir(w.at("var/lib/imagebuilder/update")); len(left) != 1 || left[0].Name() != id+".json" {
		t.Errorf("%v is left", left)
	}
}

// TestRefusedEarly: an update is refused as soon as its manifest has arrived, and nothing of it is
// kept.
func TestRefusedEarly(t *testing.T) {
	for name, c := range map[string]struct {
		node   func(*world)
		change func(*artifact.Manifest)
		want   string
	}{
		"another board":     {change: func(m *artifact.Manifest) { m.Board = "rpi5" }, want: "for board rpi5"},
		"another base":      {node: func(w *world) { w.roots["a"][7] ^= 1 }, want: "another image than runs here"},
		"no room for it":    {node: func(w *world) { w.varRoom = 64<<20 + 100 }, change: sameK3s, want: "/var has room for 64 MB, the update needs"},
		"no room for trial": {node: func(w *world) { w.varRoom = 60 << 20 }, want: "/var has room for 60 MB, the trial needs"},
		"already there":     {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, piBoard)
			if c.node != nil {
				c.node(w)
			}
			data := w.artifact(1, c.change)
			if c.want == "" {
				data = w.again(0)
			}
			line := &counted{r: io.MultiReader(bytes.NewReader(data), forever{})}
			r, err := w.receive(digest(data), 0, line)
			if c.want == "" && (err != nil || r.Installed) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%+v, %v", r, err)
			}
			if line.n > 1<<20 || w.have(digest(data)) != 0 {
				t.Errorf("%d bytes were taken, %d are kept", line.n, w.have(digest(data)))
			}
		})
	}
}

// TestAgain: an update that waits for the restart is neither sent nor written once more, unless it
// was damaged, or its trial has begun or is not known.
func TestAgain(t *testing.T) {
	starts := map[string]string{"pi": "b/vmlinuz", "pc": "loader/entries/imagebuilder-5-b+3.conf", "unified": "EFI/Linux/imagebuilder-2-b+3.efi"}
	tried := map[string]func(*world){
		"pi": func(w *world) { w.put("boot/firmware/"+slot.TrialFile, string(slot.TrialEnv("b", 2))) },
		"pc": func(w *world) { w.put("boot/firmware/"+slot.CountFile, string(slot.CountEnv("5-b", 1))) },
		"unified": func(w *world) {
			if err := os.Rename(w.at("boot/firmware/"+starts["unified"]), w.at("boot/firmware/EFI/Linux/imagebuilder-2-b+2-1.efi")); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, b := range boards {
		for what, change := range map[string]func(*world){
			"as it was":      nil,
			"a damaged root": func(w *world) { w.roots["b"][len(newRoot)-1] ^= 1 },
			"a damaged file": func(w *world) { w.put("boot/firmware/"+starts[name], "something else") },
			"tried once":     tried[name],
			"a way back":     func(w *world) { w.trial.Back = true },
			"not recorded":   func(w *world) { w.trial = contract.Trial{} },
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				w := newWorld(t, b)
				data := w.artifact(1, nil)
				want, err := w.receive(digest(data), 0, bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				if change == nil {
					want.Fetched = 0
				} else {
					change(w)
				}
				before, line := w.boot(), &counted{r: io.MultiReader(bytes.NewReader(data), forever{})}
				r, err := w.receive(digest(data), 0, line)
				if err != nil || *r != *want || digest(w.roots["b"]) != digest(newRoot) {
					t.Fatalf("%+v, %v", r, err)
				}
				if change == nil && (line.n > 64<<10 || !maps.Equal(before, w.boot())) {
					t.Errorf("%d bytes were taken, or something was written", line.n)
				}
			})
		}
	}
}

// TestNoEnd: a sender that never ends does not fill the disk.
func TestNoEnd(t *testing.T) {
	w := newWorld(t, piBoard)
	data := w.artifact(1, nil)
	line := &counted{r: io.MultiReader(bytes.NewReader(data), forever{})}
	if r, err := w.receive(digest(data), 0, line); err != nil || !r.Installed || line.n != len(data) {
		t.Errorf("%+v, %v after %d of %d bytes", r, err, line.n, len(data))
	}
	noise := &counted{r: io.MultiReader(strings.NewReader("imagebuilder-update 1 4000000 200\n"), forever{})}
	if r, err := w.receive(digest(rootA), 0, noise); err == nil || noise.n > 5<<20 {
		t.Errorf("%+v, %v after %d bytes", r, err, noise.n)
	}
}

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}

type forever struct{}

func (forever) Read(b []byte) (int, error) { return len(b), nil }

// TestOtherBytes: anything but the announced update is neither applied nor kept, and another update
// is not continued with it.
func TestOtherBytes(t *testing.T) {
	w := newWorld(t, piBoard)
	data := w.artifact(1, nil)
	before := w.boot()
	spoilt := bytes.Clone(data)
	spoilt[len(spoilt)-1] ^= 1
	if _, err := w.receive(digest(data), 0, bytes.NewReader(spoilt)); err == nil || !strings.Contains(err.Error(), "damaged on its way") {
		t.Error(err)
	}
	if w.have(digest(data)) != 0 {
		t.Error("it is kept")
	}
	if _, err := w.receive(digest(data), 0, bytes.NewReader(data[:len(data)/2])); !errors.Is(err, artifact.ErrTruncated) {
		t.Error(err)
	}
	if _, err := w.receive(digest(data), 7, bytes.NewReader(data[7:])); err == nil || !strings.Contains(err.Error(), "go on from there") {
		t.Error(err)
	}
	if _, err := w.receive("../../etc/passwd", 0, bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), "is no sha256") {
		t.Error(err)
	}
	if w.have(digest(data)) != int64(len(data)/2) {
		t.Error("half of it is lost")
	}
	if w.have(digest(spoilt)) != 0 || w.have(digest(data)) != int64(len(data)/2) {
		t.Error("a question takes away what is there")
	}
	if _, err := w.receive(digest(spoilt), 0, bytes.NewReader(spoilt[:len(spoilt)/2])); !errors.Is(err, artifact.ErrTruncated) {
		t.Error(err)
	}
	if w.have(digest(data)) != 0 {
		t.Error("two updates are kept")
	}
	if !maps.Equal(before, w.boot()) {
		t.Error("something was written")
	}
}

// TestInterrupted: a node that is switched off keeps what it has.
func TestInterrupted(t *testing.T) {
	w := newWorld(t, piBoard)
	data := w.artifact(1, nil)
	ctx, cancel := context.WithCancel(context.Background())
	line := io.MultiReader(bytes.NewReader(data[:len(data)/2]), stops(cancel))
	_, err := update.Receive(ctx, w.host(), slots{w}, w.spool(), digest(data), 0, line)
	if !errors.Is(err, context.Canceled) || w.have(digest(data)) != int64(len(data)/2) || w.busy {
		t.Errorf("%v, %d bytes are kept", err, w.have(digest(data)))
	}
}

type stops func()

func (s stops) Read([]byte) (int, error) { s(); return 0, nil }

// TestWholeButNotNow: if the update cannot be applied now, hours of transfer are not lost: the next
// try sends nothing.
func TestWholeButNotNow(t *testing.T) {
	w := newWorld(t, piBoard)
	data := w.artifact(1, nil)
	id := digest(data)
	last := len(data) - 1000 // long after its manifest
	full := io.MultiReader(bytes.NewReader(data[:last]), does(func() { w.varRoom = 1 }), bytes.NewReader(data[last:]))
	if r, err := w.receive(id, 0, full); err == nil || !strings.Contains(err.Error(), "/var has room for 0 MB") {
		t.Fatalf("%+v, %v", r, err)
	}
	if w.have(id) != int64(len(data)) {
		t.Fatalf("%d of %d bytes are kept", w.have(id), len(data))
	}
	if r, err := w.receive(id, w.have(id), bytes.NewReader(nil)); err == nil || w.have(id) != int64(len(data)) {
		t.Fatalf("asked again meanwhile: %+v, %v, %d bytes are kept", r, err, w.have(id))
	}
	w.varRoom = 1 << 30
	if r, err := w.receive(id, w.have(id), bytes.NewReader(nil)); err != nil || !r.Installed || w.have(id) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// does calls a function when a reader has come to it.
type does func()

func (d does) Read([]byte) (int, error) { d(); return 0, io.EOF }

// TestProgress: the result of an update is reported afterwards, for this update only, until the
// next one begins.
func TestProgress(t *testing.T) {
	w := newWorld(t, piBoard)
	data := w.artifact(1, nil)
	id := digest(data)
	if p := w.progress(id); p.Done != nil || p.Have != 0 {
		t.Errorf("before: %+v", p)
	}
	r, err := w.receive(id, 0, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	p := w.progress(id)
	if p.Done == nil || *p.Done != *r || p.Have != 0 || !p.At.Equal(now) {
		t.Errorf("after: %+v, want %+v", p, r)
	}
	if p := w.progress(digest(rootA)); p.Done != nil {
		t.Errorf("another one: %+v", p)
	}
	if err := (slots{w}).WithdrawTrial(); err != nil { // else it is in place
		t.Fatal(err)
	}
	if _, err := w.receive(id, 0, bytes.NewReader(data[:len(data)/2])); !errors.Is(err, artifact.ErrTruncated) {
		t.Fatal(err)
	}
	if p := w.progress(id); p.Done != nil || p.Have != int64(len(data)/2) {
		t.Errorf("in the midst of the next: %+v", p)
	}
}

// TestBusyWithTheSame: a sender that comes back while its update is being applied waits, and learns
// the state; another update is turned away at once.
func TestBusyWithTheSame(t *testing.T) {
	w := newWorld(t, piBoard)
	data := w.artifact(1, nil)
	id := digest(data)
	if _, err := w.receive(id, 0, bytes.NewReader(data[:len(data)/2])); !errors.Is(err, artifact.ErrTruncated) {
		t.Fatal(err)
	}
	w.busy = true
	if _, err := w.receive(digest(rootA), 0, bytes.NewReader(data)); !errors.Is(err, update.ErrBusy) || w.slept > 0 {
		t.Errorf("another: %v after %s", err, w.slept)
	}
	w.asleep = func() { w.busy = w.slept < time.Minute }
	r, err := w.receive(id, int64(len(data)/2), bytes.NewReader(data[len(data)/2:]))
	if err != nil || !r.Installed || w.slept != time.Minute {
		t.Errorf("%+v, %v after %s", r, err, w.slept)
	}
}

// TestGivenUp: the pieces of an update are deleted once an update from a file has taken its place,
// and not before.
func TestGivenUp(t *testing.T) {
	w := newWorld(t, piBoard)
	data := w.artifact(1, nil)
	if _, err := w.receive(digest(data), 0, bytes.NewReader(data[:len(data)/2])); !errors.Is(err, artifact.ErrTruncated) {
		t.Fatal(err)
	}
	if _, err := w.apply(data[:len(data)-1]); err == nil || w.have(digest(data)) == 0 {
		t.Errorf("%v, and %d bytes are left", err, w.have(digest(data)))
	}
	if _, err := w.apply(data); err != nil || w.have(digest(data)) != 0 {
		t.Errorf("%v, and %d bytes are left", err, w.have(digest(data)))
	}
}
