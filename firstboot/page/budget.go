package page

import (
	"sync"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// budget bounds how often something can be handed over: each time costs the check of a signature
// and a line on the node's screen.
type budget struct {
	clock firstboot.Clock
	mu    sync.Mutex
	spent int
	since time.Time // when spent was last correct
}

// take takes one try, and reports whether there was one left.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	back := int(now.Sub(b.since) / tryAgain)
	if back < 0 || back > b.spent { // a clock that was set back gives back all of them
		back = b.spent
	}
	if b.spent -= back; b.spent == 0 {
		b.since = now
	} else {
		b.since = b.since.Add(time.Duration(back) * tryAgain)
	}
	if b.spent >= tries {
		return false
	}
	b.spent++
	return true
}
