package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

const (
	magic          = 0x73717368 // "hsqs"
	superblockSize = 96
	metadataSize   = 8192 // uncompressed bytes of a full metadata block

	minBlockSize = 4 << 10
	maxBlockSize = 1 << 20

	// padding is the same as mksquashfs': a loop device over a file whose length is not a
	// multiple of the page size cannot read its last sectors.
	padding = 4 << 10

	noFragment = 0xffffffff
	noXattrs   = 0xffffffff
	noTable    = ^uint64(0)

	// storedBlock marks a data block or fragment that is not compressed; storedMeta does
	// the same for a metadata block.
	storedBlock = 1 << 24
	storedMeta  = 1 << 15

	flagNoXattrs   = 1 << 9
	flagDuplicates = 1 << 6
	flagExportable = 1 << 7
	flagOptions    = 1 << 10

	maxName         = 255  // NAME_MAX; the format allows one more
	maxSymlink      = 4095 // PATH_MAX - 1, the limit of symlink(2)
	maxDirRun       = 256  // entries after one directory header
	maxXattrValue   = 64 << 10
	maxIDs          = 1 << 16
	dirSizeOverhead = 3 // a listing's size counts "." and ".." as 3 bytes
)

// Inode types. The number of an extended type is the basic one plus extended; directory
// entries always have the basic one.
const (
	typeDir = iota + 1
	typeFile
	typeSymlink
	typeBlock
	typeChar
	typeFifo
	typeSocket
	extended = 7
)

// Compressors, by their number in the superblock.
const (
	compressorGzip = 1
	compressorLZMA = 2
	compressorLZO  = 3
	compressorXz   = 4
	compressorLZ4  = 5
	compressorZstd = 6
)

// xattrPrefixes are the three namespaces that squashfs supports; their numbers are the
// indexes. If xattrOutOfLine is set in an attribute's type, the value is a reference to the
// actual value.
var xattrPrefixes = [...]string{"user.", "trusted.", "security."}

const xattrOutOfLine = 0x100

// le is the byte order of everything in squashfs 4.0.
var le = binary.LittleEndian

// superblock is the first 96 bytes of an image, in order.
type superblock struct {
	Magic        uint32
	Inodes       uint32
	ModTime      uint32
	BlockSize    uint32
	Fragments    uint32
	Compressor   uint16
	BlockLog     uint16
	Flags        uint16
	IDs          uint16
	Major, Minor uint16
	Root         uint64
	BytesUsed    uint64
	IDTable      uint64
	XattrTable   uint64
	InodeTable   uint64
	DirTable     uint64
	FragTable    uint64
	ExportTable  uint64
}

func (s *superblock) encode() []byte {
	b, err := binary.Append(make([]byte, 0, superblockSize), le, s)
	if err != nil {
		panic(err) // occurs only for types without a fixed size
	}
	return b
}

// errNotSquashfs says that the data does not begin with the magic number of squashfs.
var errNotSquashfs = errors.New("not a squashfs image")

func decodeSuperblock(b []byte) (*superblock, error) {
	s := new(superblock)
	if _, err := binary.Decode(b, le, s); err != nil {
		return nil, fmt.Errorf("squashfs superblock: %w", err)
	}
	switch {
	case s.Magic != magic:
		return nil, errNotSquashfs
	case s.Major != 4 || s.Minor != 0:
		return nil, fmt.Errorf("squashfs version %d.%d is not supported, only 4.0", s.Major, s.Minor)
	case !validBlockSize(int64(s.BlockSize)) || bits.TrailingZeros32(s.BlockSize) != int(s.BlockLog):
		return nil, fmt.Errorf("corrupt squashfs superblock: block size %d (log %d)", s.BlockSize, s.BlockLog)
	case s.InodeTable < superblockSize || s.InodeTable > s.DirTable || s.DirTable > s.BytesUsed || s.IDTable > s.BytesUsed:
		return nil, fmt.Errorf("corrupt squashfs superblock: tables at %d, %d and %d of %d bytes", s.InodeTable, s.DirTable, s.IDTable, s.BytesUsed)
	case s.BytesUsed > 1<<62:
		return nil, fmt.Errorf("corrupt squashfs superblock: %d bytes used", s.BytesUsed)
	}
	return s, nil
}

func validBlockSize(n int64) bool {
	return n >= minBlockSize && n <= maxBlockSize && n&(n-1) == 0
}

// metaRef is the address of a byte in a table of metadata blocks: the block's offset in the
// compressed table, and the byte's offset in the uncompressed block.
type metaRef uint64

func newMetaRef(block int64, offset int) metaRef { return metaRef(block<<16 | int64(offset)) }
func (r metaRef) block() int64                   { return int64(r >> 16) }
func (r metaRef) offset() int                    { return int(r & 0xffff) }
