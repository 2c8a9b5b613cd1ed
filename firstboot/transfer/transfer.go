// Package transfer holds the rules that builder and node apply to every download, whatever vouches
// for its content: a redirect never leaves TLS, and a body ends where the file was said to end.
//
// It is a leaf of rules. It opens no connection and knows no digests.
package transfer

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// CheckRedirect is for http.Client. It refuses a redirect that leaves TLS, since some digests are
// only as good as the connection that they came over, and one to anything but HTTP.
func CheckRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("more than 10 redirects")
	}
	from, to := via[len(via)-1].URL.Scheme, req.URL.Scheme
	if to != "https" && (to != "http" || from != "http") {
		return fmt.Errorf("redirected from %s to %s", from, to)
	}
	return nil
}

// MaxUnknown bounds, in bytes, a file of unknown length: four times the largest component.
const MaxUnknown = 2 << 30

// ErrTooLong says that a server sent more than the file was said to have.
var ErrTooLong = errors.New("longer than announced")

// Limit makes reading resp's body fail after the end of a file of size bytes, or of MaxUnknown if
// size is not positive. What a resumed download already has counts. At most one byte too many is
// read.
func Limit(resp *http.Response, size int64) {
	if size <= 0 {
		size = MaxUnknown
	}
	var from int64
	if resp.StatusCode == http.StatusPartialContent {
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err != nil {
			from = 0
		}
	}
	resp.Body = &limited{resp.Body, size, size - from}
}

type limited struct {
	io.ReadCloser
	size, left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTooLong, l.size)
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTooLong, l.size)
	}
	return n, err
}
