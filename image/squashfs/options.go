package squashfs

import (
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
)

const blockSize = codec.BlockSize

// maxWorkers keeps the encoders' tables below 150 MB together.
const maxWorkers = 16

// workers is the number of blocks compressed at a time. It does not influence
// the image.
func workers() int { return min(runtime.GOMAXPROCS(0), maxWorkers) }

// Options are the parameters of Write. The zero value is usable.
type Options struct {
	// ModTime is the creation time in the superblock, and the time of nodes
	// that have none. The zero time is the epoch.
	ModTime time.Time
	// Cache remembers compressed blocks between calls; nil for none. It does
	// not influence the image.
	Cache Cache
	// Progress is told the uncompressed bytes of every block that was written,
	// DataSize in all, from one goroutine; nil for nobody.
	Progress func(bytes int64)
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
