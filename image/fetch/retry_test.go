package fetch

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cavaliergopher/grab/v3"
)

func TestJudge(t *testing.T) {
	tests := []struct {
		err  error
		want verdict
	}{
		{grab.StatusCodeError(500), again},
		{grab.StatusCodeError(503), again},
		{grab.StatusCodeError(429), again},
		{grab.StatusCodeError(408), again},
		{grab.StatusCodeError(404), next},
		{grab.StatusCodeError(403), next},
		{grab.StatusCodeError(416), remake},
		{grab.ErrBadLength, remake},
		{&DigestError{}, remake},
		{io.ErrUnexpectedEOF, again},
		{&url.Error{Op: "Get", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, again},
		{&url.Error{Op: "Get", Err: syscall.ECONNRESET}, again},
		{&url.Error{Op: "Get", Err: &net.DNSError{IsNotFound: true}}, next},
		{&url.Error{Op: "Get", Err: &net.DNSError{IsTimeout: true}}, again},
		{&url.Error{Op: "Get", Err: x509.UnknownAuthorityError{}}, next},
		{fmt.Errorf("wrapped: %w", context.Canceled), abort},
		{&fs.PathError{Op: "write", Err: syscall.ENOSPC}, abort},
		{&fs.PathError{Op: "open", Err: syscall.EACCES}, abort},
		{&os.LinkError{Op: "rename", Err: syscall.EACCES}, abort},
	}
	for _, tc := range tests {
		if got := judge(tc.err); got != tc.want {
			t.Errorf("judge(%v) = %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestWaitGrowsAndIsBounded(t *testing.T) {
	p := retryPolicy{base: 100 * time.Millisecond, max: time.Second}
	for n, most := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		for range 50 {
			if w := p.wait(n, 0); w > most*time.Millisecond || w < most*time.Millisecond/2 {
				t.Fatalf("wait(%d) = %v", n, w)
			}
		}
	}
	if w := p.wait(0, 3*time.Second); w != 3*time.Second {
		t.Errorf("Retry-After: %v", w)
	}
	if w := p.wait(0, time.Hour); w != 30*time.Second {
		t.Errorf("an hour of Retry-After: %v", w)
	}
}
