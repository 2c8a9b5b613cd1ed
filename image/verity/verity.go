// Package verity makes the hash tree by which Linux' dm-verity knows a file system that
// nobody may change (Documentation/admin-guide/device-mapper/verity.rst): version 1,
// SHA-256, blocks of 4 KiB, no salt, no superblock.
//
// It is a leaf: io in, io out. It refuses to say who vouches for the root hash.
package verity

import (
	"crypto/sha256"
	"errors"
	"io"
)

// BlockSize is that of data and of hashes, in bytes.
const BlockSize = 4 << 10

// perBlock is how many hashes a block of the tree has.
const perBlock = BlockSize / sha256.Size

// Tree is what makes data known.
type Tree struct {
	// Root is the hash of the topmost block.
	Root [sha256.Size]byte
	// Levels has the tree's blocks, the topmost first, as the kernel reads them.
	Levels []byte
}

// Hash makes the tree of data, which is as many blocks as size has, at least two.
func Hash(data io.Reader, size int64) (*Tree, error) {
	if size < 2*BlockSize || size%BlockSize != 0 {
		return nil, errors.New("verity: the data is not some blocks of 4 KiB")
	}
	level, err := hashes(data, size)
	if err != nil {
		return nil, err
	}
	t := &Tree{Levels: level}
	for len(level) > BlockSize {
		level = hash(level)
		t.Levels = append(level[:len(level):len(level)], t.Levels...)
	}
	t.Root = sha256.Sum256(level)
	return t, nil
}

// Size is the length of the tree of so many bytes of data.
func Size(data int64) (size int64) {
	for n := data / BlockSize; n > 1; {
		level := padded(n)
		size += level
		n = level / BlockSize
	}
	return size
}

// hashes reads data, of which only one block is held.
func hashes(data io.Reader, size int64) ([]byte, error) {
	level, block := make([]byte, 0, padded(size/BlockSize)), make([]byte, BlockSize)
	for range size / BlockSize {
		if _, err := io.ReadFull(data, block); err != nil {
			return nil, err
		}
		sum := sha256.Sum256(block)
		level = append(level, sum[:]...)
	}
	return level[:cap(level)], nil
}

// hash makes the level above one.
func hash(below []byte) []byte {
	level := make([]byte, padded(int64(len(below)/BlockSize)))
	for i := range len(below) / BlockSize {
		sum := sha256.Sum256(below[i*BlockSize : (i+1)*BlockSize])
		copy(level[i*sha256.Size:], sum[:])
	}
	return level
}

// padded is the length of a level with n hashes, a whole number of blocks, in bytes.
func padded(n int64) int64 { return (n + perBlock - 1) / perBlock * BlockSize }
