package fetch

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
)

// sumSuffix is the suffix of the file with size and digest beside a derived file.
const sumSuffix = ".sum"

// Derive returns the derived file kind/key. If the file is missing or has the wrong size,
// build writes it. key must cover everything that build reads, and the version of build
// itself.
func (c *Cache) Derive(ctx context.Context, kind, key string, build func(w io.Writer) error) (*File, error) {
	if err := checkNames(kind, key); err != nil {
		return nil, err
	}
	if kind == Downloads {
		return nil, fmt.Errorf("kind %s is for downloads", kind)
	}
	if f, ok := c.derived(kind, key); ok {
		return f, nil
	}
	unlock, err := c.lock(ctx, kind, key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if f, ok := c.derived(kind, key); ok {
		return f, nil
	}
	return c.derive(kind, key, build)
}

// Remember is Derive for a small result, whose content it returns.
func (c *Cache) Remember(ctx context.Context, kind, key string, compute func() ([]byte, error)) ([]byte, error) {
	f, err := c.Derive(ctx, kind, key, func(w io.Writer) error {
		b, err := compute()
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f.Bytes()
}

// derived returns an existing derived file if its size is the recorded one.
func (c *Cache) derived(kind, key string) (*File, bool) {
	path := c.path(kind, key)
	fi, err := os.Stat(path)
	if err != nil {
		return nil, false
	}
	sum, size, err := readSum(path)
	if err != nil || size != fi.Size() {
		return nil, false
	}
	touch(path, fi)
	return &File{kind, key, path, size, sum}, true
}

func (c *Cache) derive(kind, key string, build func(w io.Writer) error) (*File, error) {
	tmp, path := c.tmp(kind, key), c.path(kind, key)
	sum, size, err := writeTmp(tmp, build)
	if err != nil {
		os.Remove(tmp)
		return nil, err
	}
	if err := atomicfile.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	line := fmt.Sprintf("%s %d\n", sum, size)
	if err := atomicfile.WriteFile(path+sumSuffix, []byte(line), 0o644); err != nil {
		return nil, err
	}
	if err := commit(tmp, path); err != nil {
		os.Remove(tmp)
		return nil, err
	}
	return &File{kind, key, path, size, sum}, nil
}

func writeTmp(tmp string, build func(w io.Writer) error) (sum string, size int64, err error) {
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return "", 0, err
	}
	w := &summing{w: f, h: sha256.New()}
	buf := bufio.NewWriterSize(w, 256<<10)
	err = build(buf)
	if err == nil {
		err = buf.Flush()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return hex.EncodeToString(w.h.Sum(nil)), w.n, err
}

// summing computes the digest and the length of what passes through.
type summing struct {
	w io.Writer
	h hash.Hash
	n int64
}

func (s *summing) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.h.Write(p[:n])
	s.n += int64(n)
	return n, err
}

func readSum(path string) (sum string, size int64, err error) {
	b, err := os.ReadFile(path + sumSuffix)
	if err != nil {
		return "", 0, err
	}
	if _, err := fmt.Sscanf(string(b), "%64s %d\n", &sum, &size); err != nil {
		return "", 0, fmt.Errorf("%s%s: %w", path, sumSuffix, err)
	}
	return sum, size, checkDigest(sum)
}
