package fetch

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/cavaliergopher/grab/v3"
)

// DamagedError means that an entry of the cache is not what was put there. The top-level
// caller drops the entry and starts again, once.
type DamagedError struct {
	Kind, Key string
	Err       error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("cache entry %s/%s is damaged: %v", e.Kind, e.Key, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// Error means that every source of a file failed.
type Error struct {
	Name     string
	Attempts []Attempt // one per URL, in the order tried
}

// Attempt is the last error of one source.
type Attempt struct {
	URL string // without any password
	Err error
}

func (e *Error) Error() string {
	if len(e.Attempts) == 1 {
		return fmt.Sprintf("fetch %s: %s: %v", e.Name, e.Attempts[0].URL, e.Attempts[0].Err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "fetch %s: no source worked:", e.Name)
	for _, a := range e.Attempts {
		fmt.Fprintf(&b, "\n  %s: %v", a.URL, a.Err)
	}
	return b.String()
}

func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Attempts))
	for i, a := range e.Attempts {
		errs[i] = a.Err
	}
	return errs
}

// Status returns the HTTP status with which a source refused, or 0 for other errors.
func Status(err error) int {
	var status grab.StatusCodeError
	errors.As(err, &status)
	return int(status)
}

// DigestError means that a source served other bytes than the pinned ones.
type DigestError struct{ Want, Got string }

func (e *DigestError) Error() string {
	return fmt.Sprintf("sha256 is %s, want %s", e.Got, e.Want)
}

// Redact hides the password of a URL.
func Redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(unparsable URL)"
	}
	return u.Redacted()
}

// reason strips the URL that net/http adds to an error: Error names it already, and if it
// cannot be parsed, net/http's text includes the password.
func reason(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) && (err == error(ue) || ue.Op == "parse") {
		return ue.Err
	}
	return err
}
