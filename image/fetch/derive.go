package fetch

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
)

// sumSuffix names the file with size and digest beside a derived one.
const sumSuffix = ".sum"

// Derive opens the derived file kind/key, which build writes if it is absent
// or has the wrong size. key must stand for everything that build reads,
// including its own version. The caller closes the file.
func (c *Cache) Derive(ctx context.Context, kind, key string, build func(w io.Writer) error) (*os.File, error) {
	if err := checkNames(kind, key); err != nil {
		return nil, err
	}
	if kind == Downloads {
		return nil, fmt.Errorf("kind %s is for downloads", kind)
	}
	path := c.path(kind, key)
	if f, ok := openDerived(path); ok {
		return f, nil
	}
	unlock, err := c.lock(ctx, kind, key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if f, ok := openDerived(path); ok {
		return f, nil
	}
	if err := c.derive(kind, key, path, build); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// openDerived opens a finished file whose size is the recorded one.
func openDerived(path string) (*os.File, bool) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	fi, err := f.Stat()
	if err == nil {
		var size int64
		if _, size, err = readSum(path); err == nil && size == fi.Size() {
			touch(path, fi)
			return f, true
		}
	}
	f.Close()
	return nil, false
}

func (c *Cache) derive(kind, key, path string, build func(w io.Writer) error) error {
	tmp := c.tmp(kind, key)
	sum, size, err := writeTmp(tmp, build)
	if err != nil {
		os.Remove(tmp)
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	line := fmt.Sprintf("%s %d\n", sum, size)
	if err := atomicfile.WriteFile(path+sumSuffix, []byte(line), 0o644); err != nil {
		return err
	}
	if err := commit(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
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

// summing digests and counts what passes through.
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

// Verify reads an entry and compares it with the digest it was stored under.
// The error is *DamagedError when they differ and fs.ErrNotExist when there is
// no such entry.
func (c *Cache) Verify(kind, key string) error {
	if err := checkNames(kind, key); err != nil {
		return err
	}
	path, want := c.path(kind, key), key
	if kind != Downloads {
		sum, _, err := readSum(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &DamagedError{kind, key, err}
		}
		want = sum
	}
	err := checkFile(path, want)
	if de, ok := errors.AsType[*DigestError](err); ok {
		return &DamagedError{kind, key, de}
	}
	return err
}
