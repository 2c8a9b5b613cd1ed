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

const day = 24 * time.Hour

// lives are what a node may go through for days: set is how it begins, every
// minute something may change. Whatever can differ at each try does.
var lives = []struct {
	name  string
	set   func(*watched)
	every func(o *watched, minute int)
}{
	{"joined", nil, nil},
	{"joined, one crash a day", nil, func(o *watched, minute int) {
		if minute%1440 == 700 {
			o.crash(true)
		}
	}},
	{"key spent", func(o *watched) { o.spent["hskey-auth-first"] = true }, nil},
	{"no server of the cluster", func(o *watched) { replace("init: true", "init: false")(o.world) }, nil},
	{"Headscale does not answer", func(o *watched) {
		o.changing(func(n int) { o.control = fmt.Errorf("read tcp 192.168.1.20:%d: i/o timeout", 1024+n%60000) })
	}, nil},
	{"Headscale's database is locked", func(o *watched) {
		o.changing(func(n int) { o.refuse["hskey-auth-first"] = fmt.Sprintf("node %d: database is locked", n) })
	}, nil},
	{"k3s never comes up", func(o *watched) {
		o.ready = false
		o.changing(func(n int) { o.world.journal = fmt.Sprintf("level=fatal msg=%q", fmt.Sprint("at line ", n)) })
	}, func(o *watched, _ int) { o.crash(false) }},
	{"crashes every two minutes", nil, func(o *watched, minute int) {
		o.crash(minute%2 == 0)
	}},
	{"hangs every other minute", nil, func(o *watched, minute int) { o.mute = minute%2 == 0 }},
	{"another problem every minute", nil, func(o *watched, minute int) {
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
	{"another address every minute", nil, func(o *watched, minute int) {
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

// written is what a node wrote in a day.
type written struct{ card, disk, lines, logins int }

// live counts each day of a node's life, and for how long its card was behind
// at most.
func (o *watched) live(days int, every func(*watched, int)) (all []written, behind time.Duration) {
	all = make([]written, days+1)
	today := func() *written { return &all[o.now.Sub(o.begun)/day] }
	spoil := o.fault
	o.fault = func(n int, name string) fault {
		today().count(name)
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
		today().lines += bytes.Count(o.journal.Bytes()[lines:], []byte("\n"))
		lines = o.journal.Len()
		if o.cardIsRight() {
			right = o.now
		}
		behind = max(behind, o.now.Sub(right))
	}
	o.screen = ""
	o.run(time.Duration(days) * day)
	return all[:days], behind
}

func (w *written) count(call string) {
	kind, file, _ := strings.Cut(call, " ")
	switch writes := slices.Contains([]string{"put", "overwrite", "symlink", "remove", "sync"}, kind); {
	case call == "tailnet up":
		w.logins++
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
// never older than ten minutes, and what does not change is not written.
func TestDays(t *testing.T) {
	for _, l := range lives {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			o := watch(t, crashWorld(t))
			if l.set != nil {
				l.set(o)
			}
			days := 1
			if l.every == nil { // nothing new on the second
				days = 2
			}
			all, behind := o.live(days, l.every)
			if limit := 10*time.Minute + 15*time.Second; behind > limit {
				t.Errorf("the card was %v behind", behind)
			}
			for n, w := range all {
				t.Logf("day %d: %+v", n, w)
				if w.card > 150 || w.lines > 200 {
					t.Errorf("day %d: %d writes to the card, %d lines in the journal", n, w.card, w.lines)
				}
				if n > 0 && (w.disk > 0 || l.every == nil && o.fault == nil && w.card+w.lines > 0) {
					t.Errorf("day %d wrote though nothing happened: %+v", n, w)
				}
			}
		})
	}
}

// BenchmarkDay prints what the second day of each life writes.
func BenchmarkDay(b *testing.B) {
	for _, l := range lives {
		b.Run(strings.ReplaceAll(l.name, " ", "-"), func(b *testing.B) {
			for range b.N {
				o := watch(b, crashWorld(b))
				if l.set != nil {
					l.set(o)
				}
				all, _ := o.live(2, l.every)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(all[1].card), "STATUS.TXT/day")
				b.ReportMetric(float64(all[1].lines), "journal-lines/day")
				b.ReportMetric(float64(all[1].logins), "tailnet-logins/day")
				b.ReportMetric(float64(all[1].disk), "other-files/day")
			}
		})
	}
}
