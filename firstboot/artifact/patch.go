package artifact

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
)

const (
	// MaxOld bounds the dictionary, in bytes: a node holds it in memory, with the patch and its
	// result.
	MaxOld    = 8 << 20
	maxRanges = 256
	// dictID is not zero, which would mean that there is no dictionary.
	dictID = 1
)

// Patch gives a run of consecutive blocks of the root. What travels is their content, decompressed,
// in a zstd frame whose dictionary is old content; package codec compresses the blocks again.
type Patch struct {
	// Old is the dictionary: ranges of Base, decompressed and concatenated.
	Old    []Range `json:"old"`
	Blocks []Block `json:"blocks"`
	// SHA256 is the digest of the blocks as they are in the root.
	SHA256 string `json:"sha256"`
}

// Block is one block of the root.
type Block struct {
	// Raw is its size, decompressed, in bytes.
	Raw int64 `json:"raw"`
	// Stored says that the block is not compressed.
	Stored bool `json:"stored,omitempty"`
}

// Range is a run of consecutive blocks of the base.
type Range struct {
	At   int64 `json:"at"`
	Size int64 `json:"size"`
	// Raw is their size, decompressed, in bytes; 0 if they are stored uncompressed.
	Raw int64 `json:"raw,omitempty"`
}

// unpacked returns the size of a range, decompressed.
func (r Range) unpacked() int64 {
	if r.Raw == 0 {
		return r.Size
	}
	return r.Raw
}

// check requires what a node can hold in memory, and ranges within the first base bytes.
func (p *Patch) check(base int64) error {
	old := int64(0)
	for _, r := range p.Old {
		switch {
		case r.At < 0 || r.Size < 1 || r.At > base-r.Size:
			return errors.New("its dictionary is beyond the base")
		case r.Raw != 0 && r.Raw <= r.Size: // no compressor makes a block longer
			return fmt.Errorf("its dictionary has %d bytes, packed %d", r.Raw, r.Size)
		case r.unpacked() > MaxOld-old:
			return fmt.Errorf("its dictionary has more than %d bytes", MaxOld)
		}
		old += r.unpacked()
	}
	if len(p.Old) == 0 || len(p.Old) > maxRanges {
		return fmt.Errorf("its dictionary has 1 to %d ranges, not %d", maxRanges, len(p.Old))
	}
	for _, b := range p.Blocks {
		if b.Raw < 1 || b.Raw > codec.BlockSize {
			return fmt.Errorf("it has a block of %d bytes", b.Raw)
		}
	}
	if raw := p.raw(); raw == 0 || raw > MaxPart {
		return fmt.Errorf("its blocks have %d bytes", raw)
	}
	if !isDigest(p.SHA256) {
		return errors.New("the patch's sha256 is no digest")
	}
	return nil
}

// raw returns the size of the blocks, decompressed.
func (p *Patch) raw() (n int64) {
	for _, b := range p.Blocks {
		n += b.Raw
	}
	return n
}

// patcher turns patches into blocks.
type patcher struct {
	old   *zstd.Decoder // decompresses the base's blocks
	block *zstd.Encoder
}

func newPatcher() (p patcher, err error) {
	if p.block, err = codec.NewEncoder(); err != nil {
		return p, err
	}
	p.old, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxOld), zstd.WithDecodeAllCapLimit(true))
	return p, err
}

// dictionary reads and concatenates the ranges of old content.
func (p patcher) dictionary(old []Range, base io.ReaderAt) (dict []byte, err error) {
	size := int64(0)
	for _, r := range old {
		size += r.unpacked()
	}
	dict = make([]byte, 0, size)
	for _, r := range old {
		b := make([]byte, r.Size)
		if _, err := base.ReadAt(b, r.At); err != nil {
			return nil, fmt.Errorf("read the running slot at %d: %w", r.At, err)
		}
		before := len(dict)
		if r.Raw == 0 {
			dict = append(dict, b...)
		} else if dict, err = p.old.DecodeAll(b, dict); err != nil {
			return nil, fmt.Errorf("%w: at %d: %w", ErrOther, r.At, err)
		}
		if int64(len(dict)-before) != r.unpacked() {
			return nil, fmt.Errorf("%w: at %d", ErrOther, r.At)
		}
	}
	return dict, nil
}

// ErrOther says that the running slot is not what the update was made against.
var ErrOther = errors.New("the running slot is not what the update was made for")

// compress turns the content of blocks into blocks.
func (p patcher) compress(raw []byte, blocks []Block) (packed []byte) {
	for _, b := range blocks {
		if b.Stored {
			packed = append(packed, raw[:b.Raw]...)
		} else {
			packed = p.block.EncodeAll(raw[:b.Raw], packed)
		}
		raw = raw[b.Raw:]
	}
	return packed
}

// apply returns the blocks of a patch. The digest of traveled was already checked.
func (p patcher) apply(part Part, traveled []byte, base io.ReaderAt) ([]byte, error) {
	dict, err := p.dictionary(part.Patch.Old, base)
	if err != nil {
		return nil, err
	}
	raw, err := unpatched(traveled, dict, part.Patch.raw())
	if err != nil {
		return nil, err
	}
	blocks := p.compress(raw, part.Patch.Blocks)
	if digest(blocks) != part.Patch.SHA256 || int64(len(blocks)) != part.Size {
		return nil, errors.New("a patch of the update does not give what it was made to give: send the whole image (without --base)")
	}
	return blocks, nil
}

// unpatched returns the content of a patch's blocks.
func unpatched(traveled, dict []byte, size int64) ([]byte, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxPart),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderDictRaw(dictID, dict))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	raw, err := d.DecodeAll(traveled, make([]byte, 0, size))
	if err != nil {
		return nil, fmt.Errorf("unpack a patch of the update: %w", err)
	}
	if int64(len(raw)) != size {
		return nil, fmt.Errorf("a patch of the update has %d bytes instead of %d", len(raw), size)
	}
	return raw, nil
}
