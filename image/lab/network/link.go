package network

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Link is the quality of a connection, in each direction.
type Link struct {
	// Delay of every packet; a round trip takes twice as long.
	Delay time.Duration
	// Rate in bits per second; 0 is unlimited.
	Rate int64
	// Loss is the share of packets that are lost, 0 to 1.
	Loss float64
}

var rateForm = regexp.MustCompile(`^([0-9]+)(k|m|g)bit$`)

// ParseLink parses delay, rate and loss in any order, each of them optional: 40ms,20mbit,1%.
func ParseLink(text string) (l Link, err error) {
	for _, word := range strings.Split(text, ",") {
		switch word = strings.TrimSpace(word); {
		case word == "" && text == "":
		case strings.HasSuffix(word, "%"):
			l.Loss, err = strconv.ParseFloat(strings.TrimSuffix(word, "%"), 64)
			l.Loss /= 100
			if err != nil || !(l.Loss >= 0 && l.Loss <= 1) {
				return l, fmt.Errorf("%q: want a loss from 0%% to 100%%", word)
			}
		case strings.HasSuffix(word, "bit"):
			if l.Rate, err = parseRate(word); err != nil {
				return l, err
			}
		default:
			if l.Delay, err = time.ParseDuration(word); err != nil || l.Delay < 0 || l.Delay > time.Minute {
				return l, fmt.Errorf("%q: want a delay like 40ms, a rate like 20mbit or a loss like 1%%", word)
			}
		}
	}
	return l, nil
}

func parseRate(word string) (int64, error) {
	m := rateForm.FindStringSubmatch(word)
	if m == nil {
		return 0, fmt.Errorf("%q: want a rate like 500kbit, 20mbit or 1gbit", word)
	}
	n, err := strconv.ParseInt(m[1], 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q: want a rate that something comes through", word)
	}
	return n * map[string]int64{"k": 1e3, "m": 1e6, "g": 1e9}[m[2]], nil
}

// pipe is one direction of a link.
type pipe struct {
	link Link
	out  func(ipv4)

	mu   sync.Mutex
	free time.Time // when the last packet will have been sent completely
	sent chan parcel
	quit chan struct{}
	done sync.WaitGroup
}

// parcel is a packet that arrives at the time due.
type parcel struct {
	packet ipv4
	due    time.Time
}

// patience is how long a packet waits to be sent, as in a router's buffer; a packet that
// would have to wait longer is lost.
const patience = 500 * time.Millisecond

func newPipe(l Link, out func(ipv4)) *pipe {
	p := &pipe{link: l, out: out, sent: make(chan parcel, 4*queue), quit: make(chan struct{})}
	p.done.Go(p.run)
	return p
}

// send sends a packet, or drops it.
func (p *pipe) send(packet ipv4) {
	if p.link.Loss > 0 && rand.Float64() < p.link.Loss {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	begin := now
	if p.free.After(now) {
		begin = p.free
	}
	if begin.Sub(now) > patience {
		return
	}
	if p.link.Rate > 0 {
		begin = begin.Add(time.Duration(float64(len(packet)*8) / float64(p.link.Rate) * float64(time.Second)))
	}
	select {
	case p.sent <- parcel{packet, begin.Add(p.link.Delay)}:
		p.free = begin
	default:
	}
}

func (p *pipe) run() {
	for {
		select {
		case <-p.quit:
			return
		case next := <-p.sent:
			if wait := time.Until(next.due); wait > 0 {
				select {
				case <-p.quit:
					return
				case <-time.After(wait):
				}
			}
			p.out(next.packet)
		}
	}
}

func (p *pipe) close() {
	close(p.quit)
	p.done.Wait()
}
