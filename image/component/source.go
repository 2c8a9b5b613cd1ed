package component

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

// download is one file at a URL, with its digest.
type download struct {
	version, url, sha256 string
	size                 int64
}

func (q *request) release(version, sum string) download {
	return download{version: version, url: q.expand(q.URL, version, q.arch), sha256: sum}
}

// fetch returns the component from its URL or the cache, or the reason why it is not
// available now. A digest that does not match is an error, because another attempt would
// not help.
func (q *request) fetch(ctx context.Context, d download) (r *Resolved, why string, err error) {
	urls := q.mirrored(d.url)
	if !q.cache.Has(fetch.Downloads, d.sha256) {
		if urls, why = reachable(ctx, urls, dial); len(urls) == 0 {
			return nil, why, ctx.Err()
		}
	}
	file, err := q.cache.Get(ctx, fetch.Request{Name: q.Name + " " + d.version, URLs: urls, SHA256: d.sha256, Size: d.size}, q.opt.Progress)
	var failed *fetch.Error
	var digest *fetch.DigestError
	switch {
	case err == nil:
		if r, err = q.install(ctx, file, d, FromRelease); err != nil {
			// Damage of the cache may show as any error of the format.
			err = cmp.Or(file.Verify(), fmt.Errorf("%s: %w", d.url, err))
		}
		return r, "", err
	case errors.As(err, &digest) || ctx.Err() != nil || !errors.As(err, &failed):
		return nil, "", err
	}
	return nil, oneLine(err.Error()), nil
}

// mirrored returns the addresses to try for a URL: the mirror's, then upstream's.
func (q *request) mirrored(address string) []string {
	if q.opt.Mirror == "" {
		return []string{address}
	}
	u, err := url.Parse(address)
	if err != nil {
		return []string{address}
	}
	return []string{strings.TrimSuffix(q.opt.Mirror, "/") + u.EscapedPath(), address}
}

// checkMirror refuses a malformed address, and one with a password: if a component is
// deferred, the mirror's address is in the image, where anybody can read it.
func checkMirror(base string) error {
	u, err := url.Parse(base)
	if base == "" || err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") && u.RawQuery == "" && u.Fragment == "" && u.User == nil {
		return nil
	}
	return fmt.Errorf("component mirror: want a base address like https://mirror.example.net/components, without a password: images would have it")
}

// reachTime bounds how long a source may take to be found and to accept a connection before
// it counts as down: a slow resolver, or a line over a satellite, needs seconds. fetch's own
// retries are for servers that are up.
const reachTime = 15 * time.Second

// otherTime is how long a source is still waited for where another is up.
const otherTime = 2500 * time.Millisecond

// reachable returns the addresses whose host accepts a connection, and why the others do
// not. dial connects to the host of one.
func reachable(ctx context.Context, urls []string, dial func(context.Context, string) error) (up []string, why string) {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	reasons := make([]error, len(urls))
	done := make(chan error)
	for i, u := range urls {
		go func() {
			reasons[i] = dial(ctx, u)
			done <- reasons[i]
		}()
	}
	for range urls {
		if err := <-done; err == nil {
			defer time.AfterFunc(otherTime, cancel).Stop()
		}
	}
	var whys []string
	for i, err := range reasons {
		if err == nil {
			up = append(up, urls[i])
			continue
		}
		whys = append(whys, err.Error())
	}
	return up, strings.Join(whys, "; ")
}

// dial connects to the host of an address, or to its proxy.
func dial(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return fmt.Errorf("%s: not a usable address", address)
	}
	u := req.URL
	if proxy, err := http.ProxyFromEnvironment(req); err == nil && proxy != nil {
		u = proxy
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080"}[u.Scheme]
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return fmt.Errorf("%s: %w", u.Hostname(), dialReason(err))
	}
	return conn.Close()
}

// dialReason drops details such as resolvers and local ports, which help nobody.
func dialReason(err error) error {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return errors.New("no such host")
	case errors.As(err, &dns):
		return errors.New("name not resolved")
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return errors.New("no answer")
	}
	return errors.New("not reachable")
}

// upstreamDigest reads the digest of a version from upstream's list. It does not use a
// mirror: a server that has both a file and its digest can serve anything.
func (q *request) upstreamDigest(ctx context.Context, version string) (string, error) {
	if q.Index != "" {
		return q.indexDigest(ctx, version)
	}
	if q.Sums == "" {
		return "", fmt.Errorf("version %s is not known and upstream publishes no digests", version)
	}
	address := q.expand(q.Sums, version, q.arch)
	list, err := q.trusted(ctx, address, maxSums)
	if err != nil {
		return "", fmt.Errorf("no digest of version %s: %w", version, err)
	}
	r, err := list.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	sum, err := findSum(r, q.asset(version, q.arch))
	if err != nil {
		return "", fmt.Errorf("%s: %w", address, err)
	}
	return sum, nil
}

// trusted fetches a file for which only TLS vouches.
func (q *request) trusted(ctx context.Context, address string, limit int64) (*fetch.File, error) {
	if !strings.HasPrefix(address, "https://") {
		return nil, fmt.Errorf("%s: plain http needs its digest: append #sha256=HEX", address)
	}
	if up, why := reachable(ctx, []string{address}, dial); len(up) == 0 {
		return nil, errors.New(why)
	}
	return q.cache.GetIndex(ctx, fetch.IndexRequest{Name: path.Base(address), URL: address, Limit: limit}, q.opt.Progress)
}

// maxSums bounds a list of digests, in bytes.
const maxSums = 1 << 20

// findSum reads the format of sha256sum(1), or a file that contains only a digest.
func findSum(r io.Reader, asset string) (string, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || !isDigest(fields[0]) {
			continue
		}
		if len(fields) == 1 || strings.TrimPrefix(fields[1], "*") == asset {
			return strings.ToLower(fields[0]), nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", fmt.Errorf("the list has no %s", asset)
}

func isDigest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
