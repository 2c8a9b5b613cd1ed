// Package verity makes the hash tree by which Linux' dm-verity detects changes to a
// read-only file system (Documentation/admin-guide/device-mapper/verity.rst): version 1,
// SHA-256, blocks of 4 KiB, no salt, no superblock.
//
// It only reads data and returns the tree. Who vouches for the root hash is the caller's
// concern.
package verity

import (
	"crypto/sha256"
	"errors"
	"io"
)

// BlockSize is the size of data blocks and of hash blocks, in bytes.
const BlockSize = 4 << 10

// perBlock is the number of hashes in a block of the tree.
const perBlock = BlockSize / sha256.Size

// Tree is the hash tree of some data.
type Tree struct {
	// Root is the hash of the topmost block.
	Root [sha256.Size]byte
	// Levels has the tree's blocks, the topmost level first, as the kernel reads them.
	Levels []byte
}

// Hash makes the tree of data. size, in bytes, must be a multiple of BlockSize, at least
// two blocks.
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

// Size is the length of the tree for this many bytes of data, in bytes.
func Size(data int64) (size int64) {
	for n := data / BlockSize; n > 1; {
		level := padded(n)
		size += level
		n = level / BlockSize
	}
	return size
}

// hashes returns the lowest level of data's tree. It holds only one block of data in
// memory.
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

// hash returns the level above the given one.
func hash(below []byte) []byte {
	level := make([]byte, padded(int64(len(below)/BlockSize)))
	for i := range len(below) / BlockSize {
		sum := sha256.Sum256(below[i*BlockSize : (i+1)*BlockSize])
		copy(level[i*sha256.Size:], sum[:])
	}
	return level
}

// padded is the length of a level with n hashes, in bytes: a whole number of blocks.
func padded(n int64) int64 { return (n + perBlock - 1) / perBlock * BlockSize }
