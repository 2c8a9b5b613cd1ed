package display

import (
	"fmt"
	"testing"
	"time"
)

// TestSpared: what cannot wait is written at once until the savings are used
// up, what can wait never touches them, and a clock that jumps changes nothing.
func TestSpared(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	p := &spared{savings: 3 * interval}
	tell := func(text, brief string) bool {
		n := news{text, brief}
		due := p.due(now, n)
		if due {
			p.there = n
		}
		return due
	}
	written := 0
	for i := range 60 { // words change every second
		if tell(fmt.Sprint(i), "waiting") {
			written++
		}
		now = now.Add(time.Second)
	}
	if written != 1 {
		t.Errorf("what can wait: %d writes in a minute", written)
	}
	if !tell("a", "red") || !tell("b", "green") || tell("c", "red") {
		t.Error("three writes were saved up, and no more")
	}
	now = now.Add(interval - 2*time.Minute)
	if tell("c", "red") {
		t.Error("written before its time")
	}
	if now = now.Add(2 * time.Minute); !tell("c", "red") || tell("c", "red") {
		t.Error("after an interval it is due, once")
	}
	p.hurry()
	if !tell("d", "red") || tell("e", "red") || !tell("e", "green") {
		t.Error("a person waits for the next words, whatever they are")
	}
	for range 100 { // a clock that is set again and again
		now = now.Add(-time.Hour)
		tell(now.String(), "red")
		now = now.Add(time.Hour)
	}
	if p.saved < 0 || p.saved > p.savings {
		t.Errorf("saved %v", p.saved)
	}
	if now = now.Add(interval); !tell("f", "") || tell("g", "") || !tell("g", "green") {
		t.Error("in the end it is due again")
	}
}
