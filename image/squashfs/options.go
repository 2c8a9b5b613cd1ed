package squashfs

import (
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/klauspost/compress/zstd"
)

// DefaultBlockSize is what mksquashfs uses too. Larger blocks pack better but a
// node decompresses, and for a moment holds, a whole block for each page.
const DefaultBlockSize = 128 << 10

// Level trades size for processor time.
type Level int

const (
	// LevelDefault is LevelBetter.
	LevelDefault Level = iota
	// LevelFast is within 1 % of mksquashfs -Xcompression-level 3.
	LevelFast
	// LevelBetter is as small as mksquashfs -Xcompression-level 3 on a Debian
	// root, for a fifth more time than LevelFast.
	LevelBetter
	// LevelBest is within 1 % of mksquashfs -Xcompression-level 9 and 4 %
	// smaller than LevelBetter, for about five times its time.
	LevelBest
)

// Options are the parameters of Write. The zero value is usable.
type Options struct {
	// BlockSize is a power of two from 4 KiB to 1 MiB; 0 is DefaultBlockSize.
	BlockSize int
	// Level is how hard to compress.
	Level Level
	// ModTime is the creation time in the superblock, and the time of nodes
	// that have none. The zero time is the epoch.
	ModTime time.Time
	// Workers bounds the blocks compressed at a time; 0 is GOMAXPROCS, but no
	// more than 16, or 4 with LevelBest, for the sake of memory. It does not
	// influence the image.
	Workers int
	// Cache remembers compressed blocks between calls; nil for none. It does
	// not influence the image.
	Cache Cache
	// Progress is told the uncompressed bytes of every block that was written,
	// DataSize in all, from one goroutine; nil for nobody.
	Progress func(bytes int64)
	// Stats, if not nil, receives what was done.
	Stats *Stats
}

// CacheKey names a compressed block: a digest over the digests of the contents
// in it and everything that influences the compressor.
type CacheKey = [32]byte

// Cache keeps compressed blocks. A cache that loses entries costs time only, so
// its failures are its own affair; what Get returns must be what was Put, byte
// for byte. Write calls Get from one goroutine, but Put from several.
type Cache interface {
	// Get appends the data of key to buf and returns it, or returns false.
	Get(key CacheKey, buf []byte) ([]byte, bool)
	// Put offers data, which is the caller's again afterwards. It must not
	// survive unless Commit follows.
	Put(key CacheKey, data []byte)
	// Commit keeps what was Put: all contents had the digests they claim.
	Commit()
}

// Stats counts what one Write did.
type Stats struct {
	Inodes     int // hard links counted once
	Files      int // distinct contents
	Duplicates int // contents that were another's
	Opened     int // contents that had to be read
	Blocks     int // data blocks, fragments included
	Fragments  int // blocks made of small files
	Sparse     int // data blocks that are holes
	Stored     int // data blocks that compression would not shrink
	Cached     int // data blocks that came from the cache
}

func (o Options) withDefaults() (Options, error) {
	if o.BlockSize == 0 {
		o.BlockSize = DefaultBlockSize
	}
	if !validBlockSize(int64(o.BlockSize)) {
		return o, fmt.Errorf("squashfs block size %d is not a power of two from %d to %d", o.BlockSize, minBlockSize, maxBlockSize)
	}
	if o.Level < LevelDefault || o.Level > LevelBest {
		return o, fmt.Errorf("unknown squashfs compression level %d", o.Level)
	}
	if o.ModTime.IsZero() {
		o.ModTime = time.Unix(0, 0)
	}
	if _, err := unixTime(o.ModTime); err != nil {
		return o, err
	}
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), o.Level.maxWorkers())
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	if o.Stats == nil {
		o.Stats = new(Stats)
	}
	*o.Stats = Stats{}
	return o, nil
}

func (l Level) zstd() zstd.EncoderLevel {
	switch l {
	case LevelFast:
		return zstd.SpeedDefault
	case LevelBest:
		return zstd.SpeedBestCompression
	}
	return zstd.SpeedBetterCompression
}

// maxWorkers keeps the encoders' tables below 150 MB together.
func (l Level) maxWorkers() int {
	if l == LevelBest {
		return 4
	}
	return 16
}

func unixTime(t time.Time) (uint32, error) {
	s := t.Unix()
	if s < 0 || s > math.MaxUint32 {
		return 0, fmt.Errorf("time %s does not fit squashfs, which knows 1970 to 2106", t.UTC().Format(time.RFC3339))
	}
	return uint32(s), nil
}
