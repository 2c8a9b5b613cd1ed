package firstboot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/display"
)

const cardFile = "/boot/firmware/STATUS.TXT"

// watched is a node that is switched on for long, with all that people see of
// it. What happens to it is told by the clock.
type watched struct {
	*world
	t       testing.TB
	display *display.Display
	screen  string           // "": nobody looks
	status  firstboot.Status // shown last
	tick    func()           // of every sleep
	hurry   int              // sleeps are so many times as long as they should be
	// programs, if any, are run instead of the world's.
	programs firstboot.Programs
	journal  bytes.Buffer
	events   []event
	cancel   context.CancelFunc
	begun    time.Time
	painted  time.Time
}

type event struct {
	at time.Duration
	do func()
}

func watch(t testing.TB, w *world) *watched {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	o := &watched{world: w, t: t, screen: filepath.Join(root, "dev/tty1"), begun: w.now}
	o.display = display.New(memFiles{w}, clockWorld{w}, root, &o.journal)
	w.calls, w.endless = 0, true
	return o
}

// wipe makes the screen's file one that holds the last paint alone.
func (o *watched) wipe() {
	if o.screen == "" {
		return
	}
	if err := os.WriteFile(o.screen, nil, 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// after lets something happen some time after power-on; events are in order.
func (o *watched) after(d time.Duration, do func()) { o.events = append(o.events, event{d, do}) }

// run is the node's life until the given time.
func (o *watched) run(until time.Duration) {
	o.t.Helper()
	o.after(until, func() { o.cancel() })
	ctx, cancel := context.WithCancel(context.Background())
	o.cancel = cancel
	h := o.host()
	h.Clock = &ticking{clockWorld{o.world}, o}
	if o.programs != nil {
		h.Programs = o.programs
	}
	show := func(s firstboot.Status) {
		o.wipe()
		o.status = s
		o.display.Show(s)
	}
	if err := firstboot.Run(ctx, h, firstboot.Options{}, show); !errors.Is(err, context.Canceled) {
		o.t.Errorf("Run returned %v", err)
	}
	o.display.Close()
}

// ticking is the clock that the node sleeps by: meanwhile the world goes on,
// and the service puts the display right every ten seconds.
type ticking struct {
	clockWorld
	o *watched
}

func (c *ticking) Sleep(ctx context.Context, d time.Duration) error {
	o := c.o
	c.now = c.now.Add(d * time.Duration(max(o.hurry, 1)))
	for len(o.events) > 0 && o.now.Sub(o.begun) >= o.events[0].at {
		o.events[0].do()
		o.events = o.events[1:]
	}
	if o.tick != nil {
		o.tick()
	}
	if o.now.Sub(o.painted) >= 10*time.Second {
		o.painted = o.now
		o.wipe()
		o.display.Refresh()
	}
	return ctx.Err()
}

func (o *watched) read() string {
	o.t.Helper()
	screen, err := os.ReadFile(o.screen)
	if err != nil {
		o.t.Fatal(err)
	}
	return string(screen)
}

// sees looks at the screen and the card.
func (o *watched) sees(what string, words ...string) {
	o.t.Helper()
	for place, text := range map[string]string{"the screen": o.read(), "STATUS.TXT": string(o.files[cardFile].data)} {
		text = strings.Join(strings.Fields(text), " ")
		for _, w := range words {
			if !strings.Contains(text, w) {
				o.t.Errorf("%s: %s lacks %q: %s", what, place, w, text)
			}
		}
	}
}

const (
	green  = "JOINED - everything is fine"
	yellow = "WAITING - the node keeps trying by itself"
	red    = "PLEASE HELP"
)

// crash ends k3s, which systemd starts again. It comes up after a while.
func (o *watched) crash(up bool) {
	o.startK3s()
	o.ready = up
}

// TestTroubles: what happens to the cluster of a joined node stands on its
// screen and its card within a minute, in the words of the list, and when it
// is over they are green again by themselves.
func TestTroubles(t *testing.T) {
	const begins, lasts = 10*time.Minute + 7*time.Second, 20 * time.Minute
	for _, c := range []struct {
		name        string
		begin, mend func(*watched)
		words       []string
	}{
		{"k3s crashes and is slow to come up", func(o *watched) { o.crash(false) }, func(o *watched) { o.ready = true }, []string{yellow, "The cluster program is starting: connection refused"}},
		{"k3s says why it crashed", func(o *watched) {
			o.crash(false)
			o.world.journal = `level=fatal msg="leaderelection lost for k3s"`
		}, func(o *watched) { o.ready = true }, []string{yellow, `stopped and is started again: "leaderelection lost for k3s"`}},
		{"k3s finds another token", func(o *watched) {
			o.crash(false)
			o.world.journal = `level=fatal msg="token CA hash does not match the Cluster CA certificate hash"`
		}, func(o *watched) { o.ready = true }, []string{red, "The cluster refused this node's token."}},
		{"k3s hangs", func(o *watched) { o.mute = true }, func(o *watched) { o.mute = false }, []string{yellow, "The cluster does not answer as it should: no answer within 10s"}},
		{"a word of another node's trouble in the log", func(o *watched) {
			o.mute = true
			o.world.journal = "E1122 authentication.go: Unable to authenticate: 401 Unauthorized, not authorized"
		}, func(o *watched) { o.mute = false }, []string{yellow, "The cluster does not answer as it should"}},
		{"answers after four seconds", func(o *watched) { o.late = 4 * time.Second }, func(o *watched) { o.late = 0 }, []string{yellow, "The cluster answers late, after 4s.", "a USB disk is faster"}},
		{"the cluster misses the node", func(o *watched) { o.unready = "Kubelet stopped posting node status." }, func(o *watched) { o.unready = "" }, []string{yellow, "does not call this node ready: Kubelet stopped posting"}},
		{"k3s stays down", func(o *watched) { o.units["k3s.service"], o.ready = false, false }, func(o *watched) { o.ready = true }, []string{yellow, "The cluster program is starting"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := watch(t, crashWorld(t))
			o.after(begins-time.Second, func() { o.sees("before", green) })
			o.after(begins, func() { c.begin(o) })
			o.after(begins+time.Minute, func() { o.sees("a minute later", c.words...) })
			o.after(begins+lasts-time.Second, func() { o.sees("still", c.words...) })
			o.after(begins+lasts, func() { c.mend(o) })
			o.after(begins+lasts+time.Minute, func() { o.sees("mended", green) })
			o.run(begins + lasts + 2*time.Minute)
		})
	}
}

// TestACrashBetweenTwoLooks: k3s is up again before anybody looked.
func TestACrashBetweenTwoLooks(t *testing.T) {
	o := watch(t, crashWorld(t))
	o.after(10*time.Minute+7*time.Second, func() { o.crash(true) })
	o.after(10*time.Minute+17*time.Second, func() { o.sees("10 s later", yellow, "The cluster program stopped and was started again.") })
	o.after(11*time.Minute, func() { o.sees("a minute later", green) })
	o.run(12 * time.Minute)
	if n := strings.Count(o.journal.String(), "problem=k3s-restarted"); n != 1 {
		t.Errorf("the journal tells it %d times:\n%s", n, o.journal.String())
	}
}

// TestRestartsOfAWellNodeAreForgotten, once for each k3s that works: one that does not
// come up is tried ever more seldom.
func TestRestartsOfAWellNodeAreForgotten(t *testing.T) {
	o := watch(t, crashWorld(t))
	forgotten := func(when string, want int) {
		if o.forgotten != want {
			t.Errorf("%s they were forgotten %d times, not %d", when, o.forgotten, want)
		}
	}
	o.after(10*time.Minute, func() { forgotten("joined", 1); o.crash(false) })
	o.after(20*time.Minute, func() { forgotten("while k3s does not come up", 1); o.ready = true })
	o.after(30*time.Minute, func() { forgotten("joined again", 2) })
	o.run(31 * time.Minute)
}

// TestK3sStartsAnewInTime: what its unit does every other month, for its certificates,
// is no fault of the cluster program; a crash before is.
func TestK3sStartsAnewInTime(t *testing.T) {
	o := watch(t, crashWorld(t))
	told := func() int { return strings.Count(o.journal.String(), "problem=k3s-restarted") }
	o.after(10*time.Minute, func() { o.now = o.now.Add(contract.K3sRuns - time.Hour) })
	o.after(contract.K3sRuns-30*time.Minute, func() { o.crash(true) })
	o.after(contract.K3sRuns-20*time.Minute, func() {
		if told() != 1 {
			t.Errorf("a crash is told %d times", told())
		}
		o.now = o.now.Add(contract.K3sRuns)
	})
	o.after(2*contract.K3sRuns, func() { o.crash(true) })
	o.run(2*contract.K3sRuns + 5*time.Minute)
	if told() != 1 {
		t.Errorf("a k3s that had run for long enough is told as a crash:\n%s", o.journal.String())
	}
}

// TestOneLateAnswer is no trouble.
func TestOneLateAnswer(t *testing.T) {
	o := watch(t, crashWorld(t))
	asked := 0
	o.fault = func(_ int, name string) fault {
		if o.late = 0; strings.HasPrefix(name, "api ") {
			if asked++; asked%50 == 0 {
				o.late = 5 * time.Second
			}
		}
		return none
	}
	o.run(6 * time.Hour)
	if strings.Contains(o.journal.String(), "k3s-slow") || asked < 1000 {
		t.Errorf("asked %d times:\n%s", asked, o.journal.String())
	}
}

// TestASlowClusterIsBetterThanNone: it keeps no newcomer out.
func TestASlowClusterIsBetterThanNone(t *testing.T) {
	w := crashWorld(t)
	w.late = 6 * time.Second
	if s, _ := w.boot(anyProblem); s.State != firstboot.Joined {
		t.Error(s.Line())
	}
}

// TestCheckedAt: the screen says when a joined node was found well, twice a
// minute; the card says it as of when it was written.
func TestCheckedAt(t *testing.T) {
	o := watch(t, crashWorld(t))
	for i := range 20 {
		o.after(5*time.Minute+time.Duration(i)*time.Minute, func() {
			fresh := false
			for ago := range 40 {
				fresh = fresh || strings.Contains(o.read(), fmt.Sprintf("Checked     %s UTC", o.now.Add(-time.Duration(ago)*time.Second).UTC().Format("15:04:05")))
			}
			if !fresh {
				t.Errorf("at %v the screen says:\n%s", o.now, o.read())
			}
		})
	}
	o.run(30 * time.Minute)
	o.sees("at the end", green, "Checked 12:")
}

// TestSwitchedOffWhileItLooks: a look that the shutdown cuts short finds nothing out, and
// the card says what was so before.
func TestSwitchedOffWhileItLooks(t *testing.T) {
	w := crashWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var last firstboot.Status
	w.fault = func(_ int, name string) fault {
		if name == "tailnet status" && last.State == firstboot.Joined {
			cancel()
			return before
		}
		return none
	}
	err := firstboot.Run(ctx, w.host(), firstboot.Options{}, func(s firstboot.Status) { last = s })
	if !errors.Is(err, context.Canceled) || last.State != firstboot.Joined {
		t.Errorf("%v; it says last: %s", err, last.Line())
	}
}
