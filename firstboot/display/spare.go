package display

import "time"

// interval is how old the news in a spared place may be.
const interval = 12 * time.Minute

// spared is a place that wears out. To write there costs one interval of time;
// while nothing is written it is saved up. So in any day there are at most 120
// writes and what was saved, whatever flaps, and the newest truth is never
// older than an interval.
type spared struct {
	savings time.Duration // at most
	saved   time.Duration
	counted time.Time // when saved was last right
	wrote   time.Time
	there   news
}

// news is what a place tells, and briefly what of it cannot wait, if anything.
type news struct{ text, brief string }

// hurry lets the next news through and saves up all that can be: a person is
// there and reads.
func (p *spared) hurry() { p.saved, p.wrote = p.savings, time.Time{} }

// due reports whether to write now, and counts it as done. What can wait does
// so until the last write is an interval old.
func (p *spared) due(now time.Time, n news) bool {
	if passed := now.Sub(p.counted); passed > 0 { // a clock that is set back gives nothing
		p.saved = min(p.saved+min(passed, p.savings), p.savings)
	}
	p.counted = now
	urgent := n.brief != "" && n.brief != p.there.brief
	switch {
	case n.text == p.there.text, p.saved < interval:
		return false
	case !urgent && now.Sub(p.wrote).Abs() < interval:
		return false
	}
	p.saved -= interval
	p.wrote = now
	return true
}
