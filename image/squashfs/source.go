package squashfs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// source reads a content at most once, from its beginning to its end. It hashes all of it,
// even parts that are not needed, unless the content verifies itself: blocks in the cache
// are identified by the digest, so a content that does not match its digest would corrupt
// later images.
type source struct {
	file *file
	r    io.ReadCloser
	hash hash.Hash // nil if the content verifies itself
	pos  int64
}

// readAt fills b from offset off, which is at or after the end of the last read.
func (s *source) readAt(b []byte, off int64) error {
	if s.r == nil {
		r, err := s.file.content.Open()
		if err != nil {
			return err
		}
		s.r = r
		if _, checked := s.file.content.(tree.Checked); !checked {
			s.hash = sha256.New()
		}
	}
	if err := s.skip(off - s.pos); err != nil {
		return err
	}
	if _, err := io.ReadFull(s.r, b); err != nil {
		return s.short(err)
	}
	if s.hash != nil {
		s.hash.Write(b)
	}
	s.pos += int64(len(b))
	return nil
}

func (s *source) skip(n int64) error {
	if n == 0 {
		return nil
	}
	to := io.Discard
	if s.hash != nil {
		to = s.hash
	}
	m, err := io.CopyN(to, s.r, n)
	s.pos += m
	if err != nil {
		return s.short(err)
	}
	return nil
}

func (s *source) short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("content from %s ends before its %d bytes", s.where(), s.file.size)
	}
	return err
}

func (s *source) close() {
	if s.r != nil {
		s.r.Close()
	}
}

// finish reads the rest of a content, if it was opened, and checks it.
func (s *source) finish() error {
	if s.r == nil {
		return nil
	}
	if err := s.skip(s.file.size - s.pos); err != nil {
		return err
	}
	var one [1]byte
	if n, err := io.ReadFull(s.r, one[:]); n > 0 {
		return fmt.Errorf("content from %s is longer than its %d bytes", s.where(), s.file.size)
	} else if err != io.EOF {
		return err
	}
	if s.hash == nil {
		return nil
	}
	if sum := hex.EncodeToString(s.hash.Sum(nil)); sum != s.file.digest {
		return fmt.Errorf("content from %s has digest %s instead of %s: the cache it comes from is damaged", s.where(), sum, s.file.digest)
	}
	return nil
}

// where returns the node's Source, for errors.
func (s *source) where() string {
	if s.file.source == "" {
		return "an unknown source"
	}
	return s.file.source
}
