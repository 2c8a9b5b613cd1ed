package firstboot_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// lives are what a node may go through for long: set is how it begins, every
// minute something may change. Whatever can differ at each try does. Some are
// lived for a day, and some that cost more time only for hours.
var lives = []struct {
	name  string
	hours int
	set   func(*watched)
	every func(o *watched, minute int)
}{
	{"joined", 24, nil, nil},
	{"joined, one crash a day", 24, nil, func(o *watched, minute int) {
		if minute%1440 == 700 {
			o.crash(true)
		}
	}},
	{"key spent", 24, func(o *watched) { o.spent["hskey-auth-first"] = true }, nil},
	{"no server of the cluster", 24, func(o *watched) { replace(creates, "init: false")(o.world) }, nil},
	{"Headscale does not answer", 24, func(o *watched) {
		o.changing(func(n int) { o.control = fmt.Errorf("read tcp 192.168.1.20:%d: i/o timeout", 1024+n%60000) })
	}, nil},
	{"Headscale's database is locked", 6, func(o *watched) {
		o.changing(func(n int) { o.refuse["hskey-auth-first"] = fmt.Sprintf("node %d: database is locked", n) })
	}, nil},
	{"k3s never comes up", 6, func(o *watched) {
		o.ready = false
		o.changing(func(n int) { o.world.journal = fmt.Sprintf("level=fatal msg=%q", fmt.Sprint("at line ", n)) })
	}, func(o *watched, _ int) { o.crash(false) }},
	{"crashes every two minutes", 6, nil, func(o *watched, minute int) {
		o.crash(minute%2 == 0)
	}},
	{"hangs every other minute", 24, nil, func(o *watched, minute int) { o.mute = minute%2 == 0 }},
	{"another problem every minute", 6, nil, func(o *watched, minute int) {
		o.mute, o.late, o.unready, o.ready = false, 0, "", true
		switch minute % 6 {
		case 1:
			o.mute = true
		case 2:
			o.late = 4 * time.Second
		case 3:
			o.unready = fmt.Sprint("reason ", minute)
		case 4:
			o.crash(false)
		case 5:
			o.control = &net.DNSError{Err: "i/o timeout"}
			o.running = false
		}
		if minute%6 == 0 {
			o.control = nil
		}
	}},
	{"another address every minute", 6, nil, func(o *watched, minute int) {
		o.links[0].Addresses[0] = netip.AddrFrom4([4]byte{192, 168, 1, byte(minute)})
	}},
}

// changing calls something at every question about the network or the log, so
// that no two answers are the same.
func (o *watched) changing(next func(n int)) {
	o.fault = func(n int, name string) fault {
		if name == "control" || name == "tailnet up" || name == "log" {
			next(n)
		}
		return none
	}
}

// written is what a node wrote.
type written struct{ card, disk, lines int }

// live counts what a node writes in its first hour and in those after it, and
// for how long its card was behind at most.
func (o *watched) live(hours int, every func(*watched, int)) (first, later written, behind time.Duration) {
	now := func() *written {
		if o.now.Sub(o.begun) < time.Hour {
			return &first
		}
		return &later
	}
	spoil := o.fault
	o.fault = func(n int, name string) fault {
		now().count(name)
		if spoil != nil {
			return spoil(n, name)
		}
		return none
	}
	minute, lines, right := 5, 0, o.now // it has joined by then
	o.tick = func() {
		for ; every != nil && o.now.Sub(o.begun) > time.Duration(minute)*time.Minute; minute++ {
			every(o, minute)
		}
		now().lines += bytes.Count(o.journal.Bytes()[lines:], []byte("\n"))
		lines = o.journal.Len()
		if o.cardIsRight() {
			right = o.now
		}
		behind = max(behind, o.now.Sub(right))
	}
	o.screen = ""
	o.run(time.Duration(hours) * time.Hour)
	return first, later, behind
}

func (w *written) count(call string) {
	kind, file, _ := strings.Cut(call, " ")
	switch writes := slices.Contains([]string{"put", "overwrite", "symlink", "remove", "sync"}, kind); {
	case writes && file == cardFile:
		w.card++
	case writes && !strings.HasPrefix(file, "/run/"):
		w.disk++
	}
}

// cardIsRight reports whether the card says what the screen does.
func (o *watched) cardIsRight() bool {
	s := o.status.Lasting()
	card := o.files[cardFile]
	return card != nil && strings.HasPrefix(string(card.data), s.Lines(78)[0]) &&
		(s.Problem == nil || strings.Contains(string(card.data), "Code        "+s.Problem.Code))
}

// TestDays: whatever goes on, a card is not worn out, what stands on it is
// never older than twelve minutes, and what does not change is not written. The
// service puts its places right every ten seconds, hence some seconds more.
func TestDays(t *testing.T) {
	for _, l := range lives {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			o := watch(t, crashWorld(t))
			if l.set != nil {
				l.set(o)
			}
			quiet := l.every == nil && o.fault == nil
			first, later, behind := o.live(l.hours, l.every)
			t.Logf("first hour %+v, %d hours more %+v, at most %v behind", first, l.hours-1, later, behind)
			if behind > 12*time.Minute+15*time.Second {
				t.Errorf("the card was %v behind", behind)
			}
			if n, limit := first.card+later.card, 30+5*l.hours; n > limit { // 150 a day
				t.Errorf("%d writes to the card in %d hours", n, l.hours)
			}
			if n, limit := first.lines+later.lines, 80+5*l.hours; n > limit {
				t.Errorf("%d lines in the journal in %d hours", n, l.hours)
			}
			if later.disk > 0 || quiet && later.card+later.lines > 0 {
				t.Errorf("written though nothing happened: %+v", later)
			}
		})
	}
}

// BenchmarkDay prints what a whole day of each life writes.
func BenchmarkDay(b *testing.B) {
	for _, l := range lives {
		b.Run(strings.ReplaceAll(l.name, " ", "-"), func(b *testing.B) {
			for range b.N {
				o := watch(b, crashWorld(b))
				if l.set != nil {
					l.set(o)
				}
				_, w, _ := o.live(25, l.every)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(w.card), "STATUS.TXT/day")
				b.ReportMetric(float64(w.lines), "journal-lines/day")
				b.ReportMetric(float64(w.disk), "other-files/day")
			}
		})
	}
}
