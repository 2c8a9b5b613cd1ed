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
	stall     time.Duration // silence after which a connection counts as dead
	rate      int64         // bytes per second; a slower source is abandoned for the next
	window    time.Duration // over which the rate is measured
	unknown   int64         // limit in bytes for a file of unknown size
}

var defaultRetry = retryPolicy{
	attempts: 5, base: 300 * time.Millisecond, max: 10 * time.Second, stall: 30 * time.Second,
	rate: 8 << 10, window: time.Minute, unknown: transfer.MaxUnknown,
}

// wait is the pause after the n-th failure (from 0). It grows exponentially and has jitter,
// so that parallel downloads do not retry at the same time. A server's Retry-After is
// respected up to half a minute.
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

// errPermanent marks an error that another attempt would not avoid.
type errPermanent struct{ error }

// Permanent marks an error of Request.Via that another attempt would not avoid.
func Permanent(err error) error { return errPermanent{err} }

func (e errPermanent) Unwrap() error { return e.error }

// verdict says what to do after a failed attempt.
type verdict int

const (
	again  verdict = iota // transient: wait, then try the same source again
	remake                // the partial file is useless: remove it and try once more
	next                  // try the next source
	abort                 // no source can help: cancelled, or a fault of this computer
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

// Local reports whether err is a fault of this computer, such as a full disk or a directory
// without write permission, rather than of a source. Callers must not treat one as the
// other.
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

// permanent tells errors in the address or in trust from transient ones.
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

// hosts remembers which hosts are unreachable or slow, so that such a mirror costs its
// retries only once and not for each of hundreds of packages.
type hosts struct {
	mu         sync.Mutex
	down, slow map[string]bool
}

// attempts returns how many attempts to make with a source of this host.
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
