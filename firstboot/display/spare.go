package display

import "time"

// interval is how far a spared place may lag behind.
const interval = 12 * time.Minute

// spared is a place that wears out. A write there costs one interval of time,
// and time is saved up while nothing is written. So there are at most 120
// writes a day plus what was saved, whatever flaps, and the place never lags
// more than an interval behind.
type spared struct {
	savings time.Duration // the most that can be saved
	saved   time.Duration
	counted time.Time // when saved was last updated
	wrote   time.Time
	there   news
}

// news is what a place shows. brief is the part that cannot wait, "" if all
// can.
type news struct{ text, brief string }

// hurry lets the next news through and saves up the most that is possible: a
// person is there and reads.
func (p *spared) hurry() { p.saved, p.wrote = p.savings, time.Time{} }

// due reports whether to write now, and if so pays for it. What can wait does
// so until the last write is an interval old.
func (p *spared) due(now time.Time, n news) bool {
	if passed := now.Sub(p.counted); passed > 0 { // a clock that is set back saves nothing
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
