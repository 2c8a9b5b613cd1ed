package component

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/transfer"
	"github.com/going-mobile/imagebuilder/image/tree"
)

var versionWord = regexp.MustCompile(`^v?[0-9]+(\.[0-9]+)*([-+.][0-9A-Za-z.+-]+)?$`)

// override resolves --component NAME=VALUE. VALUE is a version if it looks like one, a URL
// if it has a scheme, and else a file.
func (q *request) override(ctx context.Context, value string) (*Resolved, error) {
	switch {
	case strings.HasPrefix(value, "https://") || strings.HasPrefix(value, "http://"):
		return q.fromURL(ctx, value)
	case versionWord.MatchString(value) && !strings.ContainsAny(value, `/\`):
		return q.fromVersion(ctx, value)
	case value == "":
		return nil, fmt.Errorf("want a version, a file or a URL")
	}
	return q.file(ctx, value)
}

// fromVersion takes another release. If its digest is not pinned, it comes from upstream's
// list of digests.
func (q *request) fromVersion(ctx context.Context, version string) (*Resolved, error) {
	sum := q.digest(version, q.arch)
	if sum == "" {
		var err error
		if sum, err = q.upstreamDigest(ctx, version); err != nil {
			return nil, err
		}
	}
	d := q.release(version, sum)
	r, why, err := q.fetch(ctx, d)
	if r != nil || err != nil {
		return r, err
	}
	return q.deferred(d, why), nil
}

// fromURL takes a URL of the user's. Without a digest it must be https; the digest of what
// it serves now goes into the lock.
func (q *request) fromURL(ctx context.Context, value string) (*Resolved, error) {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("the value is no usable web address")
	}
	sum, given := strings.CutPrefix(u.Fragment, "sha256=")
	u.Fragment = ""
	if u.User != nil {
		return nil, fmt.Errorf("an address with a password would end up in the image: use a file")
	}
	if given {
		if b, err := hex.DecodeString(sum); err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("#sha256= wants 64 hex digits")
		}
	} else {
		file, err := q.trusted(ctx, u.String(), transfer.MaxUnknown)
		if err != nil {
			return nil, err
		}
		sum = file.SHA256()
	}
	d := download{version: "custom-" + sum[:12], url: u.String(), sha256: strings.ToLower(sum)}
	r, why, err := q.fetch(ctx, d)
	if r != nil || err != nil {
		return r, err
	}
	return q.deferred(d, why), nil
}

// again takes the file that a lock names, which may be anywhere. It looks for it in the
// current directory.
func (q *request) again(ctx context.Context, p Pin) (*Resolved, error) {
	if sum, _, err := sumFile(p.URL); err != nil || sum != p.SHA256 {
		return nil, fmt.Errorf("the lock has it from a file %s of sha256 %s: put that into this directory, or say where it is by --component %s=FILE", p.URL, p.SHA256, q.Name)
	}
	return q.file(ctx, p.URL)
}

// file takes a file of the user's without a known digest.
func (q *request) file(ctx context.Context, name string) (*Resolved, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	sum, size, err := sumFile(abs)
	if err != nil {
		return nil, fmt.Errorf("%w (want a version like v1.36.4+k3s1, a file or a URL)", err)
	}
	d := download{version: "file-" + sum[:12], url: abs, sha256: sum, size: size}
	r, err := q.install(ctx, tree.File(abs, size, sum), d, FromFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", abs, err)
	}
	return r, nil
}

func sumFile(name string) (sum string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return "", 0, fmt.Errorf("%s: not a regular file", name)
	}
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}
