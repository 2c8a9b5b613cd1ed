package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/cavaliergopher/grab/v3"

	"github.com/going-mobile/imagebuilder/firstboot/transfer"
)

type retryPolicy struct {
	attempts  int           // per source
	base, max time.Duration // of the wait between attempts
	stall     time.Duration // how long a body may stay silent before the connection counts as dead
	rate      int64         // bytes a second below which a source is left for the next
	window    time.Duration // over which the rate is taken
	unknown   int64         // bytes that a file of unknown size may have
}

var defaultRetry = retryPolicy{
	attempts: 5, base: 300 * time.Millisecond, max: 10 * time.Second, stall: 30 * time.Second,
	rate: 8 << 10, window: time.Minute, unknown: transfer.MaxUnknown,
}

// wait is the pause after the n-th failure (from 0): exponential, with jitter
// so that parallel downloads do not return together. A server's Retry-After
// is respected up to half a minute.
func (p retryPolicy) wait(n int, after time.Duration) time.Duration {
	d := min(p.base<<n, p.max)
	d = d/2 + rand.N(d/2+1)
	return max(d, min(after, 30*time.Second))
}

func retryAfter(resp *http.Response) time.Duration {
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		return time.Duration(s) * time.Second
	}
	return 0
}

// errPermanent marks an error that another attempt cannot mend.
type errPermanent struct{ error }

// Permanent marks an error of Request.Via that another attempt cannot mend.
func Permanent(err error) error { return errPermanent{err} }

func (e errPermanent) Unwrap() error { return e.error }

// verdict is what a failed attempt means for the next one.
type verdict int

const (
	again  verdict = iota // transient: wait, then the same source
	remake                // the partial file is useless: remove it, once more
	next                  // this source will not do
	abort                 // no source will do: cancelled, or a local fault
)

func judge(err error) verdict {
	var status grab.StatusCodeError
	var digest *DigestError
	switch {
	case errors.Is(err, context.Canceled), Local(err):
		return abort
	case errors.As(err, &digest), errors.Is(err, grab.ErrBadLength), errors.Is(err, errRange):
		return remake
	case errors.As(err, &status):
		return judgeStatus(int(status))
	case permanent(err), errors.Is(err, ErrSlow), errors.Is(err, transfer.ErrTooLong):
		return next
	}
	return again
}

// Local tells a fault of this computer, such as a full disk or a directory that it may not
// write to, from one of whoever has the file: nobody may go on as if it were the other.
func Local(err error) bool {
	return errors.As(err, new(*fs.PathError)) || errors.As(err, new(*os.LinkError)) || errors.Is(err, syscall.ENOSPC)
}

func judgeStatus(code int) verdict {
	switch {
	case code == http.StatusRequestedRangeNotSatisfiable:
		return remake
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		return again
	}
	return next
}

// permanent tells faults of the address or of trust from those of the moment.
func permanent(err error) bool {
	var marked errPermanent
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var parse *url.Error
	return errors.As(err, &marked) ||
		errors.As(err, &dns) && dns.IsNotFound ||
		errors.As(err, &cert) || errors.As(err, &unknown) ||
		errors.As(err, &parse) && parse.Op == "parse"
}

// hosts remembers which hosts cannot be reached or are slow, so that such a
// mirror costs its retries once and not for each of hundreds of packages.
type hosts struct {
	mu         sync.Mutex
	down, slow map[string]bool
}

// attempts is how often a source of this host is worth trying.
func (h *hosts) attempts(u string, usual int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down[host(u)] {
		return 1
	}
	return usual
}

func (h *hosts) record(u string, err error) {
	var op *net.OpError
	unreachable := errors.As(err, &op) && op.Op == "dial"
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down == nil {
		h.down, h.slow = map[string]bool{}, map[string]bool{}
	}
	h.down[host(u)] = unreachable
	h.slow[host(u)] = h.slow[host(u)] || errors.Is(err, ErrSlow)
}

func (h *hosts) isSlow(u string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.slow[host(u)]
}

// order returns the sources with the slow ones last.
func (h *hosts) order(urls []string) []string {
	var slow, rest []string
	for _, u := range urls {
		if h.isSlow(u) {
			slow = append(slow, u)
		} else {
			rest = append(rest, u)
		}
	}
	return append(rest, slow...)
}

func host(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}
