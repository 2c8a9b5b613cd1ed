package kmod

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"golang.org/x/sync/errgroup"
)

// info is what a module's file contains about it.
type info struct {
	aliases, softdeps, weakdeps []string // in the order of .modinfo
	depends                     []string // names of modules
	exports, needs              []string // symbols
	// size and sum are those of the decompressed file.
	size int64
	sum  string
}

// maxModule bounds a decompressed module, in bytes. Modules with debug symbols, which no
// image has, reach 100 MB.
const maxModule = 256 << 20

// load reads those modules that have not been read yet, on all processors.
func load(modules []*module) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, x := range modules {
		if x.info != nil {
			continue
		}
		g.Go(func() (err error) {
			if x.info, err = readModule(x); err != nil {
				return fmt.Errorf("/%s: %w", x.path, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func readModule(x *module) (*info, error) {
	f, err := x.node.Content.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := decompress(x.path, f)
	if err != nil {
		return nil, err
	}
	i, err := parseModule(data)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	i.size, i.sum = int64(len(data)), hex.EncodeToString(sum[:])
	return i, nil
}

// parseModule reads the ELF file of a module.
func parseModule(data []byte) (*info, error) {
	o, err := parseObject(data)
	if err != nil {
		return nil, err
	}
	symbols, err := o.symbols()
	if err != nil {
		return nil, err
	}
	i := &info{exports: o.exports(symbols), needs: o.needs(symbols)}
	for _, s := range cStrings(o.sections[".modinfo"]) {
		i.add(s)
	}
	return i, nil
}

// add adds one "key=value" of .modinfo.
func (i *info) add(s string) {
	key, value, _ := strings.Cut(s, "=")
	switch key {
	case "alias":
		i.aliases = append(i.aliases, value)
	case "softdep":
		i.softdeps = append(i.softdeps, value)
	case "weakdep":
		i.weakdeps = append(i.weakdeps, value)
	case "depends":
		for name := range strings.SplitSeq(value, ",") {
			if name != "" {
				i.depends = append(i.depends, normalise(name))
			}
		}
	}
}

// decoders keeps idle xz decoders with their dictionaries for reuse: a kernel has thousands
// of small modules.
var decoders sync.Pool

// decompress returns the ELF file in r; the ending of name tells the compression.
func decompress(name string, r io.Reader) ([]byte, error) {
	switch {
	case strings.HasSuffix(name, ".xz"):
		z, ok := decoders.Get().(*xz.Reader)
		var err error
		if ok {
			err = z.Reset(r)
		} else {
			z, err = xz.NewReader(r, xz.DefaultDictMax)
		}
		if err != nil {
			return nil, err
		}
		defer decoders.Put(z)
		return readLimited(z)
	case strings.HasSuffix(name, ".zst"):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		return readLimited(z)
	case strings.HasSuffix(name, ".gz"):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		return readLimited(z)
	}
	return readLimited(r)
}

func readLimited(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err == nil && len(b) > maxModule {
		err = fmt.Errorf("module is larger than %d bytes", maxModule)
	}
	return b, err
}
