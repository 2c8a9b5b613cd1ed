package squashfs

import (
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
)

const blockSize = codec.BlockSize

// maxWorkers keeps the memory of all encoders together below 150 MB.
const maxWorkers = 16

// workers is the number of blocks that are compressed at the same time. It does not affect
// the image.
func workers() int { return min(runtime.GOMAXPROCS(0), maxWorkers) }

// Options are the parameters of Write. The zero value is usable.
type Options struct {
	// ModTime is the creation time in the superblock, and the time of nodes without one.
	// The zero time stands for the epoch.
	ModTime time.Time
	// Cache keeps compressed blocks between calls; nil keeps none. It does not affect the
	// image.
	Cache Cache
	// Progress is called, from one goroutine, with the uncompressed size of every block
	// that was written, DataSize in total; nil reports nothing.
	Progress func(bytes int64)
}

// CacheKey identifies a compressed block: it is a digest of the digests of the block's
// contents and of everything that affects the compressor.
type CacheKey = [32]byte

// Cache keeps compressed blocks. It may lose entries, which only costs time, and handles
// its own errors. But what Get returns must be byte for byte what was Put. Write calls Get
// from one goroutine and Put from several.
type Cache interface {
	// Get appends the data of key to buf and returns it, or returns false.
	Get(key CacheKey, buf []byte) ([]byte, bool)
	// Put stores data, which the caller may reuse afterwards. It must not be kept unless
	// Commit follows.
	Put(key CacheKey, data []byte)
	// Commit keeps what was Put: all contents have turned out to match their digests.
	Commit()
}

func (o Options) withDefaults() (Options, error) {
	if o.ModTime.IsZero() {
		o.ModTime = time.Unix(0, 0)
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	_, err := unixTime(o.ModTime)
	return o, err
}

func unixTime(t time.Time) (uint32, error) {
	s := t.Unix()
	if s < 0 || s > math.MaxUint32 {
		return 0, fmt.Errorf("time %s does not fit squashfs, which knows 1970 to 2106", t.UTC().Format(time.RFC3339))
	}
	return uint32(s), nil
}
