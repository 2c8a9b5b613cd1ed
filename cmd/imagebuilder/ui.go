package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/going-mobile/imagebuilder/image/progress"
)

// ui shows progress on standard error: one bar per stage on a terminal, one
// plain line per stage every few seconds elsewhere.
type ui struct {
	out   io.Writer
	bars  *mpb.Progress // nil without a terminal
	quiet bool

	mu     sync.Mutex
	stages map[string]*stage
	order  []*stage
	stop   chan struct{}
	done   sync.WaitGroup
}

// stage adds up the tasks of one kind.
type stage struct {
	name         string
	began        time.Time
	tasks, ended atomic.Int64
	bytes, total atomic.Int64
	last         atomic.Pointer[string]
	bar          *mpb.Bar
	reported     int64 // tasks that had ended at the last plain line; only the ticker reads it
}

const plainInterval = 3 * time.Second

func newUI(cmd *cobra.Command, quiet bool) *ui {
	u := &ui{out: cmd.ErrOrStderr(), quiet: quiet, stages: map[string]*stage{}, stop: make(chan struct{})}
	switch {
	case quiet:
	case term.IsTerminal(int(os.Stderr.Fd())):
		u.bars = mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(40))
	default:
		u.done.Add(1)
		go u.plain()
	}
	return u
}

// Start implements progress.Reporter.
func (u *ui) Start(name, task string, total int64) progress.Task {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.stages[name]
	if s == nil {
		s = &stage{name: name, began: time.Now()}
		u.stages[name] = s
		u.order = append(u.order, s)
		if u.bars != nil {
			s.bar = u.addBar(s)
		}
	}
	s.tasks.Add(1)
	s.last.Store(&task)
	if total > 0 {
		sum := s.total.Add(total)
		if s.bar != nil {
			s.bar.SetTotal(sum, false)
		}
	}
	return &uiTask{s: s, total: max(total, 0)}
}

func (u *ui) addBar(s *stage) *mpb.Bar {
	return u.bars.AddBar(0,
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-9s", s.name)),
			decor.Any(func(decor.Statistics) string {
				return fmt.Sprintf("%4d/%-4d", s.ended.Load(), s.tasks.Load())
			})),
		mpb.AppendDecorators(
			decor.Any(func(decor.Statistics) string { return s.amount() }), decor.Name("  "),
			decor.Any(func(decor.Statistics) string { return s.current() })))
}

// amount describes a stage's progress: in bytes, or in time if the end is not known.
func (s *stage) amount() string {
	seconds, total := time.Since(s.began).Seconds(), float64(s.total.Load())/1e6
	done := float64(s.bytes.Load()) / 1e6
	rate := done / max(seconds, 0.001)
	switch {
	case done == 0 && total == 0:
		return fmt.Sprintf("for %.0f s", seconds)
	case total == 0:
		return fmt.Sprintf("%.1f MB, %.1f MB/s", done, rate)
	}
	return fmt.Sprintf("%.1f of %.1f MB, %.1f MB/s%s", done, total, rate, timeLeft(total-done, rate))
}

// timeLeft describes the time until the rest is done at a rate, "" if nothing is left or the
// rate is 0.
func timeLeft(rest, rate float64) string {
	if rest <= 0 || rate <= 0 {
		return ""
	}
	return ", " + time.Duration(rest/rate*float64(time.Second)).Round(time.Second).String() + " left"
}

func (s *stage) current() string {
	if name := s.last.Load(); name != nil {
		return *name
	}
	return ""
}

type uiTask struct {
	s     *stage
	total int64
	seen  atomic.Int64
}

func (t *uiTask) Add(n int64) {
	t.seen.Add(n)
	now := t.s.bytes.Add(n)
	if t.s.bar != nil {
		t.s.bar.SetCurrent(now)
	}
}

func (t *uiTask) Done(error) {
	if rest := t.total - t.seen.Load(); rest > 0 { // a resumed or cached download counts as complete
		t.Add(rest)
	}
	t.s.ended.Add(1)
}

func (u *ui) plain() {
	defer u.done.Done()
	tick := time.NewTicker(plainInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			u.plainLines()
		case <-u.stop:
			return
		}
	}
}

func (u *ui) plainLines() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.order {
		ended, tasks := s.ended.Load(), s.tasks.Load()
		if ended == tasks && ended == s.reported {
			continue
		}
		s.reported = ended
		fmt.Fprintf(u.out, "%s: %d of %d done, %s, last %s\n", s.name, ended, tasks, s.amount(), s.current())
	}
}

// close ends the display and leaves the cursor on a new line.
func (u *ui) close() {
	close(u.stop)
	u.done.Wait()
	if u.bars == nil {
		return
	}
	for _, s := range u.order {
		s.bar.EnableTriggerComplete()
		s.bar.SetTotal(s.bytes.Load(), true)
	}
	u.bars.Wait()
}
